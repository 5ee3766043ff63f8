// Package planted holds bugs on purpose, to prove that the tests would see them.
//
// Every bug that a crash-safe store could have and that a suite should catch (each of these was somebody's real one)
// stands behind [On] at the place where it would be made. A normal build answers false and the code is gone. Under
// the build tag planted a test switches one on and shows that a named check fails; a bug that no check sees fails the
// suite.
package planted

// A Bug is one deliberate mistake.
type Bug uint8

// The bugs, each named for what the code then does wrong.
const (
	NoDirSyncAtCreate         Bug = iota + 1 // a new file's name is never made durable
	RenameBeforeSync                         // an artifact is renamed into place before its bytes are synced
	AckBeforeSync                            // an append is acknowledged before its sync
	SyncOnCloseOnly                          // nothing is synced until Close
	WrongFileSynced                          // after a rotation the old file is synced instead of the new one
	SyncRetried                              // a failed sync is tried again, and believed
	TailResumedInPlace                       // after a crash the doubtful end of the log is served from where it lies
	GroupErrorToLeaderOnly                   // only the leader of a write group hears of its failure
	WeakestSyncWins                          // one draft of a group that needs no sync spares the others theirs
	PublishBeforeSync                        // readers see a group before it is durable
	CutAtFirstBadFrame                       // damage below a durable mark is cut like a torn tail
	RefuseAtFirstBadFrame                    // a torn tail is refused like damage
	KeepFramesAfterHole                      // frames behind a hole are kept
	HalfBatchKept                            // members of an unfinished batch are kept
	HeaderNotInCRC                           // a frame's checksum covers its body only
	LengthBeforeCRC                          // a length is believed before its checksum
	Uint32LengthSum                          // header and length are added in 32 bits
	CRCNotBoundToPlace                       // a frame decodes at any offset of any file
	ZeroFrameAccepted                        // zeroes decode as an empty frame
	FooterDecidesCommitment                  // a footer is trusted over the frames and the next header
	FooterCountUnchecked                     // a footer's counts are not compared with the file
	BatchVisibleItemByItem                   // readers see a batch grow
	ChainFromBatchsLast                      // every member of a batch is linked to the batch's last
	SequenceReusedAfterCut                   // a sequence that was cut off is given out again
	AnchorIgnored                            // a log shorter than its anchor opens as a short log
	OrderByClock                             // order follows the wall clock
	LockByPIDFile                            // a file's existence is the lock
	LockFileDeletedAtClose                   // Close removes the lock file
	WorldReadableFiles                       // files are made 0644
	LinkFollowed                             // a symlink in place of a data file is followed
	MapWithoutLengthCheck                    // mapped bytes are read without looking at the length
	StrangersTempRemoved                     // left-overs that are not ours are removed
	BlockBeforeSync                          // an index block covers frames that are not durable
	SnapshotPlaceUnchecked                   // a snapshot's place in the log is not compared with the log
	SnapshotAheadTrusted                     // a snapshot that is ahead of the log is served
	CompactionGuessed                        // a result that lies there is taken for a committed one
	ResultsNamedLate                         // a compaction is committed before its results' names are durable
	SourcesRemovedEarly                      // sources are removed before the results' new names are durable
	RecordRemovedEarly                       // the record is removed before the sources' removal is durable
	KeyStagedBeforeDurable                   // the keys of a group that failed are still known
	KeysForgottenInFooters                   // what is sealed is not asked for a key
	KeysMovedLate                            // a compaction removes events and leaves their keys
	HeadsEvicted                             // a compaction removes the last event of a stream
	CancelledKeyKnown                        // the key of an event whose fence was cancelled answers a retry
	StagedVisible                            // readers see past an open fence
	FenceVisibleInParts                      // readers see the part of a committed fence that stands before an open one
	CancelForgottenAtOpen                    // an open takes a cancelled fence for a committed one
	OpenFenceShownAfterCrash                 // recovery shows what an open fence had staged
	FenceContextIgnored                      // a fence outlives its context
	RangesAheadOfFences                      // the file of hidden ranges covers events of open fences
	FencesUnmarked                           // a store with fences opens without its hidden ranges
	WaiterWokenEarly                         // a wait for visibility ends when the event is written
	UnlessBlindInGroup                       // a condition does not see what is staged in the same group
	JoinersNotTold                           // who joins a group while it is staged does not hear of its failure
	PositionBeforeHandler                    // a consumer's position is stored before its handler has returned
	PositionAheadOfDurable                   // a consumer's position names an event that is not durable yet
	PositionApartFromReaction                // what a reactor emits and its position are committed one after the other
	PositionUnchecked                        // a position of another history is gone on from

	bugEnd
)

var names = [bugEnd]string{
	NoDirSyncAtCreate: "NoDirSyncAtCreate", RenameBeforeSync: "RenameBeforeSync", AckBeforeSync: "AckBeforeSync",
	SyncOnCloseOnly: "SyncOnCloseOnly", WrongFileSynced: "WrongFileSynced", SyncRetried: "SyncRetried",
	TailResumedInPlace: "TailResumedInPlace", GroupErrorToLeaderOnly: "GroupErrorToLeaderOnly",
	WeakestSyncWins: "WeakestSyncWins", PublishBeforeSync: "PublishBeforeSync",
	CutAtFirstBadFrame: "CutAtFirstBadFrame", RefuseAtFirstBadFrame: "RefuseAtFirstBadFrame",
	KeepFramesAfterHole: "KeepFramesAfterHole", HalfBatchKept: "HalfBatchKept", HeaderNotInCRC: "HeaderNotInCRC",
	LengthBeforeCRC: "LengthBeforeCRC", Uint32LengthSum: "Uint32LengthSum", CRCNotBoundToPlace: "CRCNotBoundToPlace",
	ZeroFrameAccepted: "ZeroFrameAccepted", FooterDecidesCommitment: "FooterDecidesCommitment",
	FooterCountUnchecked: "FooterCountUnchecked", BatchVisibleItemByItem: "BatchVisibleItemByItem",
	ChainFromBatchsLast: "ChainFromBatchsLast", SequenceReusedAfterCut: "SequenceReusedAfterCut",
	AnchorIgnored: "AnchorIgnored", OrderByClock: "OrderByClock", LockByPIDFile: "LockByPIDFile",
	LockFileDeletedAtClose: "LockFileDeletedAtClose", WorldReadableFiles: "WorldReadableFiles",
	LinkFollowed: "LinkFollowed", MapWithoutLengthCheck: "MapWithoutLengthCheck",
	StrangersTempRemoved: "StrangersTempRemoved", BlockBeforeSync: "BlockBeforeSync",
	SnapshotPlaceUnchecked: "SnapshotPlaceUnchecked", SnapshotAheadTrusted: "SnapshotAheadTrusted",
	CompactionGuessed: "CompactionGuessed",
	ResultsNamedLate:  "ResultsNamedLate", SourcesRemovedEarly: "SourcesRemovedEarly",
	RecordRemovedEarly:     "RecordRemovedEarly",
	KeyStagedBeforeDurable: "KeyStagedBeforeDurable", KeysForgottenInFooters: "KeysForgottenInFooters",
	KeysMovedLate: "KeysMovedLate", HeadsEvicted: "HeadsEvicted", CancelledKeyKnown: "CancelledKeyKnown",
	StagedVisible:            "StagedVisible",
	FenceVisibleInParts:      "FenceVisibleInParts",
	CancelForgottenAtOpen:    "CancelForgottenAtOpen",
	OpenFenceShownAfterCrash: "OpenFenceShownAfterCrash",
	FenceContextIgnored:      "FenceContextIgnored",
	RangesAheadOfFences:      "RangesAheadOfFences",
	FencesUnmarked:           "FencesUnmarked",
	WaiterWokenEarly:         "WaiterWokenEarly",
	UnlessBlindInGroup:       "UnlessBlindInGroup",
	JoinersNotTold:           "JoinersNotTold",

	PositionBeforeHandler: "PositionBeforeHandler", PositionAheadOfDurable: "PositionAheadOfDurable",
	PositionApartFromReaction: "PositionApartFromReaction", PositionUnchecked: "PositionUnchecked",
}

// String returns the name of b as it stands in the source.
func (b Bug) String() string {
	if b == 0 || b >= bugEnd {
		return "Bug(?)"
	}
	return names[b]
}

// Bugs returns every bug, in order. The slice is the caller's.
func Bugs() []Bug {
	bugs := make([]Bug, 0, bugEnd-1)
	for b := Bug(1); b < bugEnd; b++ {
		bugs = append(bugs, b)
	}
	return bugs
}
