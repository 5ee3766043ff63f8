package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"batpak"
	"batpak/coldstart"
	"batpak/hidden"
)

// Checks of what callers see of fences, conditions and waits, for stores that may have a bug.

// withRig runs check on a store that is open.
func withRig(o batpak.Options, check func(*rig) error) error {
	r := newRig(o)
	if err := r.open(); err != nil {
		return err
	}
	defer r.kill()
	return check(r)
}

// sees checks that reads see n events, and that the claim on the rig's history holds otherwise.
func (r *rig) sees(n int) error {
	got, err := collect(r.st, batpak.Query{})
	if err != nil || len(got) != n {
		return errors.Join(err, fmt.Errorf("reads see %d events, want %d", len(got), n))
	}
	h := r.history()
	c := claim{want: h, most: len(h), reader: true}
	return second(c.fits(got, len(h)))
}

// fencesHoldBack: nothing behind an open fence is seen, and all of it when the fence has ended.
func fencesHoldBack() error {
	return withRig(batpak.Options{}, func(r *rig) error {
		f, err := r.fence()
		return errors.Join(
			err, second(r.append(r.draft(streamA, 0))), second(f.append(f.staged(0))), second(r.append(r.draft(streamA, 0))),
			r.sees(1), f.commit(), r.sees(3),
		)
	})
}

// fencesAppearAtOnce: also when an open fence has staged something between.
func fencesAppearAtOnce() error {
	return withRig(batpak.Options{}, func(r *rig) error {
		f, err1 := r.fence()
		g, err2 := r.fence()
		return errors.Join(
			err1, err2, second(f.append(f.staged(0))), second(g.append(g.staged(0))), second(f.append(f.staged(0))),
			f.commit(), r.sees(0), g.commit(), r.sees(3),
		)
	})
}

// contextsEndFences: a fence does not outlive its context.
func contextsEndFences() error {
	return withRig(batpak.Options{}, func(r *rig) error {
		of, end := context.WithCancel(context.Background())
		defer end()
		f, err := r.st.Fence(of)
		if err != nil {
			return err
		}
		rcpt, err := f.Append(of, r.draft(streamA, 0))
		if err != nil {
			return err
		}
		end()
		if _, err := f.Append(context.Background(), r.draft(streamA, 0)); !errors.Is(err, batpak.ErrFenceEnded) {
			return fmt.Errorf("append through a fence whose context has ended: %v", err)
		}
		return r.st.WaitVisible(context.Background(), rcpt.Seq) // the cancel is on its way
	})
}

// rangesAreNeeded: a store that has had a fence does not open without its hidden ranges.
func rangesAreNeeded() error {
	return withRig(batpak.Options{}, func(r *rig) error {
		f, err := r.fence()
		if err := errors.Join(err, second(f.append(f.staged(0))), f.cancel(), r.close()); err != nil {
			return err
		}
		r.mem.DeleteFile(hidden.FileName)
		var refused *coldstart.HiddenError
		if err := r.open(); !errors.As(err, &refused) {
			return fmt.Errorf("open without hidden ranges: %v", err)
		}
		return nil
	})
}

// waitsAreForWhatIsSeen: a wait for what stands behind an open fence goes on.
func waitsAreForWhatIsSeen() error {
	return withRig(batpak.Options{}, func(r *rig) error {
		f, err := r.fence()
		if err := errors.Join(err, second(f.append(f.staged(0)))); err != nil {
			return err
		}
		rcpt, err := r.append(r.draft(streamA, 0))
		if err != nil {
			return err
		}
		ended, end := context.WithCancel(context.Background())
		end()
		if err := r.st.WaitVisible(ended, rcpt.Seq); !errors.Is(err, batpak.ErrCanceled) {
			return fmt.Errorf("wait for event %d, when events up to %d are seen: %v", rcpt.Seq, r.st.Visible(), err)
		}
		return nil
	})
}

// conditionsSeeTheirGroup: of two who decide on the same state and meet in one group, one wins.
func conditionsSeeTheirGroup() error {
	return withRig(batpak.Options{}, func(r *rig) error {
		decide := func() []batpak.Draft {
			d := r.draft(streamB, 0)
			d.Unless = []batpak.Unless{{Query: batpak.Query{Entity: streamB.Entity()}}}
			return []batpak.Draft{d}
		}
		err := r.group([][]batpak.Draft{{r.draft(streamA, 0)}, decide(), decide()})
		if !errors.Is(err, batpak.ErrConflict) {
			return fmt.Errorf("both have won: %v", err)
		}
		return r.sees(2)
	})
}

// TestFencesConditionsWaits runs the checks that planted bugs are held against.
func TestFencesConditionsWaits(t *testing.T) {
	for name, check := range map[string]func() error{
		"fences hold back": fencesHoldBack, "fences appear at once": fencesAppearAtOnce,
		"contexts end fences": contextsEndFences, "ranges are needed": rangesAreNeeded,
		"waits are for what is seen": waitsAreForWhatIsSeen, "conditions see their group": conditionsSeeTheirGroup,
	} {
		t.Run(name, func(t *testing.T) {
			if err := check(); err != nil {
				t.Error(err)
			}
		})
	}
}
