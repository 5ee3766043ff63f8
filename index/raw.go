package index

import "batpak/event"

// RawByID returns everything that the frame of the event with this ID says; ok is false when there is none, or it is not
// visible. Its bytes belong to the caller.
//
// Errors: as [View.EventByID].
func (v *View) RawByID(id event.ID) (raw event.Raw, ok bool, err error) {
	if raw, ok, err = v.FindID(id); ok && raw.Seq > v.visible {
		return event.Raw{}, false, nil
	}
	return raw, ok, err
}

// FindID returns the event named id, visible or not. The result's bytes are the caller's.
//
// Errors: as EventByID.
func (v *View) FindID(id event.ID) (raw event.Raw, ok bool, err error) {
	if ok, err = v.rawByID(id, &raw); err != nil || !ok {
		return event.Raw{}, false, err
	}
	return raw, true, nil
}
