package vfs

import (
	"errors"
	"syscall"
)

// maxRetries bounds how often one call is repeated, so that a system which is interrupted for ever gives
// an error and not a loop.
const maxRetries = 100

// interrupted reports whether err says that a call did nothing yet and may simply be made again.
func interrupted(err error) bool {
	return errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.EAGAIN)
}

// retry calls fn again for as long as it was interrupted (EINTR, EAGAIN), at most maxRetries times.
// Everything in this package that may be interrupted goes through here or through retryWriteAt, the
// injected errors of [Inject] included: callers of vfs see EINTR only when it does not end. It is safe
// for a sync, because an interrupted sync has reported no failed write; any other error of a sync is
// returned at once and never retried.
func retry(fn func() error) error {
	var err error
	for range maxRetries {
		if err = fn(); !interrupted(err) {
			return err
		}
	}
	return err
}

// retryWriteAt calls write until all of p is written or it fails with anything but an interruption, going
// on behind the bytes that each interrupted call wrote.
func retryWriteAt(p []byte, off int64, write func(p []byte, off int64) (int, error)) (n int, err error) {
	err = retry(func() error {
		m, err := write(p[n:], off+int64(n))
		n += m
		return err
	})
	return n, err
}
