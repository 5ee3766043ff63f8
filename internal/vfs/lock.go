package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"batpak/internal/planted"
)

// errWouldBlock says that the lock of a file is held elsewhere.
var errWouldBlock = errors.New("lock held")

// maxLockAttempts bounds how often Lock starts again because its file was replaced under it.
const maxLockAttempts = 10

// heldLocks are the locks of this process. The system's lock is not enough: where it belongs to the
// process and not to the open file, a second lock in the same process would succeed.
var heldLocks lockRegistry

type lockRegistry struct {
	mu   sync.Mutex
	held []heldLock // few: one for each open store
}

type heldLock struct {
	dir  fileID // of the directory
	name string
}

// claim registers the lock, or reports that it is taken.
func (r *lockRegistry) claim(dir fileID, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.findLocked(dir, name) >= 0 {
		return false
	}
	r.held = append(r.held, heldLock{dir, name})
	return true
}

// release takes the lock off the register.
func (r *lockRegistry) release(dir fileID, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.findLocked(dir, name); i >= 0 {
		last := len(r.held) - 1
		r.held[i], r.held[last] = r.held[last], heldLock{}
		r.held = r.held[:last]
	}
}

func (r *lockRegistry) findLocked(dir fileID, name string) int {
	for i, l := range r.held {
		if l.name == name && l.dir.same(dir) {
			return i
		}
	}
	return -1
}

// An osLock is a locked file. Closing it releases the system's lock first, the register second.
type osLock struct {
	*osFile
	dir  *osDir
	name string
	once sync.Once
}

func (l *osLock) Close() error {
	err := fs.ErrClosed
	l.once.Do(func() {
		if planted.On(planted.LockFileDeletedAtClose) {
			_ = os.Remove(filepath.Join(l.dir.path, l.name))
		}
		// A child process between fork and exec may hold a copy of the descriptor: unlock, then close.
		err = errors.Join(l.f.unlock(), l.f.Close())
		heldLocks.release(l.dir.id, l.name)
	})
	return err
}

func (d *osDir) Lock(name string) (LockFile, error) {
	if err := d.check("lock", name); err != nil {
		return nil, err
	}
	path := d.join(name)
	if !heldLocks.claim(d.id, name) {
		return nil, &LockedError{Path: path, PID: os.Getpid()}
	}
	if planted.On(planted.LockByPIDFile) {
		if _, err := os.Lstat(path); err == nil {
			heldLocks.release(d.id, name)
			return nil, &LockedError{Path: path}
		}
	}
	f, err := d.lockFile(path, name)
	if err != nil {
		heldLocks.release(d.id, name)
		return nil, err
	}
	l := &osLock{osFile: f, dir: d, name: name}
	// The hint is for people; a full disk is no reason to refuse the lock.
	_, _ = l.WriteAt(lockHint(os.Getpid()), 0)
	return l, nil
}

// lockFile opens and locks the file name, and starts again when another file took the name meanwhile:
// the lock would then be on a file that no one else looks at.
func (d *osDir) lockFile(path, name string) (*osFile, error) {
	for range maxLockAttempts {
		f, s, err := openRegular(d.handle, name, os.O_RDWR, d.filePerm)
		if errors.Is(err, fs.ErrNotExist) {
			if err = d.settle(); err == nil {
				f, s, err = openRegular(d.handle, name, os.O_RDWR|os.O_CREATE, d.filePerm)
			}
		}
		if err != nil {
			return nil, err
		}
		if err := f.lock(); errors.Is(err, errWouldBlock) {
			held := &LockedError{Path: path, PID: readLockHint(f)}
			return nil, errors.Join(held, f.Close())
		} else if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		now, err := d.handle.lstat(name)
		if err == nil && now.id.same(s.id) {
			return &osFile{f: f, size: s.size}, nil
		}
		if closeErr := f.Close(); closeErr != nil {
			return nil, closeErr
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("lock %s: file replaced %d times", path, maxLockAttempts)
}

// lockHint returns the first LockHintSize bytes of a lock file owned by the process pid.
func lockHint(pid int) []byte {
	hint := bytes.Repeat([]byte{' '}, LockHintSize)
	copy(hint, strconv.Itoa(pid)+"\n")
	return hint
}

// readLockHint returns the process ID in a lock file, or 0.
func readLockHint(f interface {
	ReadAt(p []byte, off int64) (int, error)
}) int {
	var hint [LockHintSize]byte
	n, _ := f.ReadAt(hint[:], 0)
	digits, _, found := bytes.Cut(hint[:n], []byte{'\n'})
	if !found {
		return 0
	}
	pid, err := strconv.Atoi(string(digits))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
