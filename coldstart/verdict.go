package coldstart

import "fmt"

// What recovery does with each file is decided by this table and nowhere else. o is the offset of the first byte that
// is not part of a valid frame, or of the batch frame whose batch does not end; D is the highest offset that is
// proven to have been durable, by the mark in any valid frame, the anchor, or the beacon.
//
// Each combination of facts fits exactly one row, or is impossible; a test walks all of them.

// A set is a column of a row: one bit for each fact it takes. The zero set takes all.
type set uint8

func (s set) takes(fact uint8) bool { return s == 0 || s>>fact&1 == 1 }

// of returns the set of the given facts.
func of[F ~uint8](facts ...F) set {
	var s set
	for _, f := range facts {
		s |= 1 << f
	}
	return s
}

// subject is which file is looked at.
type subject uint8

const (
	newest   subject = iota // the segment with the highest number
	older                   // a segment that a later one names as its predecessor
	offChain                // a segment that no later one names
	leftover                // a temporary file of our own atomic replacement
	stranger                // a name that is not ours
	subjects
)

// headerFact is whether the segment's header decodes.
type headerFact uint8

const (
	sound headerFact = iota
	broken
	foreign // of another store, or under another segment's name
	headerFacts
)

// linkFact is whether the segment continues the one that it names as its predecessor.
type linkFact uint8

const (
	linked   linkFact = iota // end, last sequence, tree and root agree
	unlinked                 // the predecessor is not there, or ends otherwise
	linkFacts
)

// restFact is what stands at o. Of a broken newest segment: what stands behind the header that belonged there.
type restFact uint8

const (
	restEnd    restFact = iota // the end of the file; in an older segment: the end that the next header names
	restZeroes                 // nothing but zeroes up to the end of the file
	restBytes                  // bytes that are no frame, and no valid frame behind them
	restFrames                 // bytes that are no frame, and valid frames behind them
	restFacts
)

// proofFact is where D lies. Of a broken newest segment: below means that nothing names it as in use.
type proofFact uint8

const (
	below    proofFact = iota // D ≤ o
	marked                    // a valid frame of the segment names D > o
	anchored                  // the anchor or the beacon, but no frame, names D > o
	proofFacts
)

// batchFact is whether the frames before o end inside a batch.
type batchFact uint8

const (
	whole batchFact = iota
	half
	batchFacts
)

// doubtFact is what may be in the page cache only.
type doubtFact uint8

const (
	proven   doubtFact = iota // nothing
	doubtful                  // frames that end in (D, o]
	unused                    // all of the file: it holds what it was made with, and nothing says that making it succeeded
	doubtFacts
)

// footerFact is whether the file ends in a footer that holds.
type footerFact uint8

const (
	unsealed footerFact = iota
	sealed
	footerFacts
)

// facts are what was found out about one file.
type facts struct {
	subject subject
	header  headerFact
	link    linkFact
	rest    restFact
	proof   proofFact
	batch   batchFact
	doubt   doubtFact
	footer  footerFact
}

// An action is what recovery does.
type action uint8

const (
	actNothing     action = iota
	actResume             // go on writing at o
	actMove               // close the segment at the last proven frame, move what is behind it up to o to a new file
	actRenew              // put a copy in a new file in its place, then go on writing at o
	actQuarantine         // rename the file, never use its number again
	actUseFooter          // serve the segment by its footer
	actRebuild            // serve the segment by its frames, write the footer again
	actRemove             // remove the file
	actTailMissing        // refuse: *TailMissingError
	actCorrupt            // refuse: *CorruptError
)

// A verdict is one row.
type verdict struct {
	label string // in reports, errors and tests
	when  conditions
	do    action
}

// conditions are the columns of a row.
type conditions struct{ subject, header, link, rest, proof, batch, doubt, footer set }

func (c *conditions) take(f facts) bool {
	return c.subject.takes(uint8(f.subject)) && c.header.takes(uint8(f.header)) && c.link.takes(uint8(f.link)) &&
		c.rest.takes(uint8(f.rest)) && c.proof.takes(uint8(f.proof)) && c.batch.takes(uint8(f.batch)) &&
		c.doubt.takes(uint8(f.doubt)) && c.footer.takes(uint8(f.footer))
}

// Columns that many rows share.
var (
	theNewest = conditions{subject: of(newest), header: of(sound), link: of(linked), footer: of(unsealed)}
	anOlder   = conditions{subject: of(older), header: of(sound), link: of(linked)}
)

func (c conditions) with(rest, proof, batch, doubt set) conditions {
	c.rest, c.proof, c.batch, c.doubt = rest, proof, batch, doubt
	return c
}

func (c conditions) footers(rest, footer set) conditions {
	c.rest, c.footer = rest, footer
	return c
}

// verdicts is the table.
var verdicts = []verdict{
	// The end of the log.           rest               proof                batch      doubt
	{"clean end", theNewest.with(of(restEnd), of(below), of(whole), of(proven)), actResume},
	{"preallocated", theNewest.with(of(restZeroes), of(below), of(whole), of(proven)), actResume},
	{"doubtful end", theNewest.with(of(restEnd, restZeroes), of(below), of(whole), of(doubtful)), actMove},
	{"unused segment", theNewest.with(of(restEnd), of(below), of(whole), of(unused)), actRenew},
	{"torn end", theNewest.with(of(restBytes), of(below), of(whole), 0), actMove},
	{"hole in the last group", theNewest.with(of(restFrames), of(below), of(whole), 0), actMove},
	{"half batch", theNewest.with(0, of(below), of(half), 0), actMove},
	{"rot under a mark", theNewest.with(of(restFrames), of(marked), of(whole), 0), actCorrupt},
	{"rot under the anchor", theNewest.with(of(restBytes, restFrames), of(anchored), of(whole), 0), actCorrupt},
	{"rotten batch", theNewest.with(0, of(marked, anchored), of(half), 0), actCorrupt},
	{"tail missing", theNewest.with(of(restEnd, restZeroes), of(anchored), of(whole), 0), actTailMissing},
	{"sealed without a successor", conditions{subject: of(newest), header: of(sound), link: of(linked), footer: of(sealed)}, actTailMissing},

	// The newest segment as a file, and one behind which a newer one was made.
	{"crash in rotation", conditions{subject: of(newest, offChain), header: of(broken), rest: of(restEnd, restZeroes), proof: of(below)}, actQuarantine},
	{"rotten header", conditions{subject: of(newest, offChain), header: of(broken), rest: of(restBytes, restFrames)}, actCorrupt},
	{"rotten header of a segment in use", conditions{subject: of(newest, offChain), header: of(broken), rest: of(restEnd, restZeroes), proof: of(anchored, marked)}, actCorrupt},
	{"predecessor does not fit", conditions{subject: of(newest), header: of(sound), link: of(unlinked)}, actCorrupt},

	// Older segments.
	{"footer holds", anOlder.footers(0, of(sealed)), actUseFooter},
	{"footer missing, frames good", anOlder.footers(of(restEnd), of(unsealed)), actRebuild},
	{"damage in an older segment", anOlder.footers(of(restZeroes, restBytes, restFrames), of(unsealed)), actCorrupt},
	{"rotten header of an older segment", conditions{subject: of(older), header: of(broken)}, actCorrupt},
	{"foreign segment", conditions{subject: of(newest, older, offChain), header: of(foreign)}, actCorrupt},
	{"break between segments", conditions{subject: of(older), header: of(sound), link: of(unlinked)}, actCorrupt},
	{"segment outside the chain", conditions{subject: of(offChain), header: of(sound)}, actCorrupt},

	// Other names.
	{"left-over of a replacement", conditions{subject: of(leftover)}, actRemove},
	{"unknown name", conditions{subject: of(stranger)}, actNothing},
}

// impossible names the facts that cannot be found together, and why.
var impossible = []struct {
	why  string
	when conditions
}{
	{"a mark lies before its frame: D > o takes a frame behind o",
		conditions{subject: of(newest), header: of(sound), link: of(linked), footer: of(unsealed),
			rest: of(restEnd, restZeroes, restBytes), proof: of(marked), batch: of(whole)}},
	{"a segment with zeroes behind its frames has been used",
		theNewest.with(of(restZeroes), of(below), of(whole), of(unused))},
}

// judge returns the row that f fits. It panics where the table has none or two: a bug, which a test excludes.
func judge(f facts) *verdict {
	var found *verdict
	for i := range verdicts {
		if v := &verdicts[i]; v.when.take(f) {
			if found != nil {
				panic(fmt.Sprintf("coldstart: facts %+v fit %q and %q", f, found.label, v.label))
			}
			found = v
		}
	}
	if found == nil {
		panic(fmt.Sprintf("coldstart: facts %+v fit no verdict", f))
	}
	return found
}
