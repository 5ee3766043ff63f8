package batpak_test

import (
	"errors"

	"batpak/coldstart"
	"batpak/internal/vfs"
	"batpak/segment"
)

// typedRefusal reports whether err is one of the errors that Open and reads name for damage.
func typedRefusal(err error) bool {
	var (
		corrupt *coldstart.CorruptError
		tail    *coldstart.TailMissingError
		meta    *coldstart.MetaError
		hidden  *coldstart.HiddenError
		pending *coldstart.PendingError
		keys    *coldstart.IdempError
		future  *coldstart.FutureError
		path    *vfs.UnsafePathError
	)
	return errors.As(err, &corrupt) || errors.As(err, &tail) || errors.As(err, &meta) || errors.As(err, &future) ||
		errors.As(err, &path) || errors.As(err, &hidden) || errors.As(err, &pending) || errors.As(err, &keys)
}

// typedReadError reports whether err is one of the errors that a read names for damage.
func typedReadError(err error) bool {
	var (
		frame  *segment.FrameError
		footer *segment.FooterError
	)
	return errors.As(err, &frame) || errors.As(err, &footer)
}
