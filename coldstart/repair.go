package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"batpak/internal/vfs"
	"batpak/segment"
)

// RepairConfig says which directory [Repair] looks at, and what it may do there.
type RepairConfig struct {
	FS       vfs.FS      // nil means the operating system's
	Dir      string      // path of the directory
	FilePerm fs.FileMode // of the files made; zero means 0600

	// Write carries the repair out. When false nothing is changed but the lock file.
	Write bool
	// DropIdemp sets a damaged window of idempotency keys aside: it cannot be made again from the log.
	DropIdemp bool

	Progress func(Progress) // called after each segment has been read, which the repair waits for; nil means nobody listens
}

// Repair makes anew, in the store in a directory, what is damaged and can be derived from what is not:
//
//	what                               how
//	store.meta, missing or damaged     from the segments' headers, if all of them agree
//	footers of older segments          from the frames below them, in a copy of the segment that takes its place
//	damaged caches                     removed; the next open makes them again
//	visibility_ranges.fbv, damaged     from the fence frames of a log that is whole
//	index.idemp, damaged               not at all; set aside if DropIdemp says so
//	anchor, damaged or foreign         from the place up to which a log that is whole is proven to be durable
//
// Events are never touched: damage in the log, and whatever else is left, is among the findings. What a crash leaves
// needs no repair: the next open sees to it. No file is changed in place: each is replaced by a whole and durable one
// in one step, so that a crash anywhere leaves a directory that opens, or can be repaired again. A damaged file that
// is no cache is kept under its name with ".quarantine" behind it; a footer that is replaced is not.
//
// Repair holds the writer's lock, and reads every byte of the log first. An error says that it could not look, or not
// carry on; the report then says what had been done.
//
// Errors: *[vfs.LockedError]; [ErrNoStore]; the context's; I/O errors.
func Repair(ctx context.Context, cfg RepairConfig) (*RepairReport, error) {
	return repairWith(ctx, cfg, sideFiles)
}

// repairWith is Repair where sides say what to make of the files beside the log.
func repairWith(ctx context.Context, cfg RepairConfig, sides []sideFile) (_ *RepairReport, err error) {
	began := time.Now()
	fsys := cfg.FS
	if fsys == nil {
		fsys = vfs.OS
	}
	r := &repairer{cfg: cfg, sides: sides, report: &RepairReport{DryRun: !cfg.Write}}
	dir, err := fsys.OpenDir(cfg.Dir, vfs.DirOptions{FilePerm: cfg.FilePerm})
	if err != nil {
		return r.report, err
	}
	defer func() {
		r.report.Elapsed = time.Since(began)
		err = errors.Join(err, dir.Close())
	}()
	entries, err := dir.List()
	if err != nil {
		return r.report, err
	}
	if !holdsStore(entries) {
		return r.report, fmt.Errorf("%w: %s", ErrNoStore, cfg.Dir)
	}
	lock, err := dir.Lock(lockName)
	if err != nil {
		return r.report, fmt.Errorf("lock %s: %w", cfg.Dir, err)
	}
	r.verifier = newVerifier(dir, cfg.Progress)
	return r.report, errors.Join(r.repair(ctx), lock.Close())
}

// A repairer is one Repair. It plans first, and carries the plan out only when all of it stands.
type repairer struct {
	*verifier
	cfg   RepairConfig
	sides []sideFile

	report *RepairReport
	steps  []repairStep // one for each action of the report
	given  int          // findings of the report that come from the verifier; planning adds others behind
}

func (r *repairer) repair(ctx context.Context) error {
	if err := r.run(ctx); err != nil {
		return err
	}
	r.report.Store, r.report.Segments, r.report.Events = r.meta.Store, r.result.Segments, r.result.Events
	if err := r.plan(); err != nil || !r.cfg.Write {
		return err
	}
	for i, carryOut := range r.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		a := &r.report.Actions[i]
		if err := carryOut(ctx, a); err != nil {
			return fmt.Errorf("%s %s: %w", a.Do, a.File, err)
		}
		a.Done = true
	}
	return nil
}

// plan fills the report with what is to be done, and with what nothing can be done about.
func (r *repairer) plan() error {
	r.report.Findings, r.report.Notes = r.unmendable()
	r.given = len(r.report.Findings)
	known, err := r.planMeta()
	if err != nil {
		return err
	}
	for _, m := range r.mendable {
		if m.link != nil {
			r.add(m.file, "rebuild", "the footer, from the frames", m.reason, func(ctx context.Context, _ *RepairAction) error {
				return r.refoot(ctx, m.link)
			})
		}
	}
	if err := r.planSides(); err != nil {
		return err
	}
	r.planAnchor()
	if !known || r.future {
		// Nothing can be judged without the identity, and what a newer version wrote, that version is to mend.
		r.report.Findings = slices.Concat(r.result.Findings, r.report.Findings[r.given:])
		r.report.Notes, r.report.Actions, r.steps = r.result.Notes, nil, nil
	}
	return nil
}

// add plans one action.
func (r *repairer) add(file, do, how, why string, s repairStep) {
	r.report.Actions = append(r.report.Actions, RepairAction{File: file, Do: do, How: how, Why: why})
	r.steps = append(r.steps, s)
}

// unmendable returns the findings and notes that are about something else than what can be mended.
func (r *repairer) unmendable() (findings, notes []Finding) {
	rest := func(all []Finding, noted bool) (left []Finding) {
		for i, f := range all {
			if !slices.ContainsFunc(r.mendable, func(m mendable) bool { return m.noted == noted && m.at == i }) {
				left = append(left, f)
			}
		}
		return left
	}
	return rest(r.result.Findings, false), rest(r.result.Notes, true)
}

// damaged returns what is to be mended of the file called name, which is no segment; nil when it holds.
func (r *repairer) damaged(name string) *mendable {
	i := slices.IndexFunc(r.mendable, func(m mendable) bool { return m.file == name })
	if i < 0 {
		return nil
	}
	return &r.mendable[i]
}

// planMeta plans a new store.meta, if it takes one; known is false when the identity cannot be told.
//
// Errors: I/O errors.
func (r *repairer) planMeta() (known bool, err error) {
	m := r.damaged(metaName)
	if m == nil {
		return true, nil
	}
	entries, err := r.dir.List()
	if err != nil {
		return false, err
	}
	var first *segment.Header
	n := 0
	for h := range headers(r.dir, entries) {
		if n++; first == nil {
			first = h
		}
		if h.Store != first.Store {
			r.report.Findings = append(r.report.Findings, Finding{
				File: metaName, Reason: fmt.Sprintf("segment %06d is of store %x, segment %06d of %x: nothing says whose directory this is",
					first.Segment, first.Store, h.Segment, h.Store),
			})
			return false, nil
		}
	}
	if first == nil {
		r.report.Findings = append(r.report.Findings, Finding{File: metaName, Reason: "no segment has a header that tells the identity"})
		return false, nil
	}
	again := meta{Store: first.Store, Created: first.Created, Fenced: r.fenced}
	how := fmt.Sprintf("from the headers of %d segments, which agree", n)
	if n == 1 {
		how = "from the header of the only segment"
	}
	r.add(metaName, "rebuild", how, m.reason, func(_ context.Context, a *RepairAction) error {
		return r.replace(a, func() error { return createMeta(r.dir, &again) })
	})
	return true, nil
}

// planAnchor plans a new anchor, if it takes one. In a damaged log the old one may be evidence of what is lost.
func (r *repairer) planAnchor() {
	m := r.damaged(anchorName)
	switch {
	case m == nil:
	case r.logDamaged() || r.end == nil:
		r.report.Findings = append(r.report.Findings, Finding{
			File: anchorName, Reason: m.reason + "; a new one has to wait until the log is whole",
		})
	case r.anchor == nil && r.end.unused && r.end.link.header.Previous == 0:
		r.add(anchorName, "set aside", "the next open makes a new one", m.reason, r.setAside)
	default:
		r.add(anchorName, "rebuild", "from the proven end of the log", m.reason, func(ctx context.Context, a *RepairAction) error {
			end, err := r.provenEnd(ctx)
			if err != nil {
				return err
			}
			file := anchorFile{dir: r.dir, store: r.meta.Store, generation: end.generation}
			return r.replace(a, func() error { return file.write(end) })
		})
	}
}
