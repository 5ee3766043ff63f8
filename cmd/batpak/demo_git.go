package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// historyTime bounds the reading of a history; what was read by then is the input.
const historyTime = 3 * time.Second

// readHistory returns up to most commits that HEAD of the repository at path leads to, parents first.
//
// Errors: git is missing; path is no repository, or one without commits; the history cannot be read.
func readHistory(ctx context.Context, path string, most int) (*source, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, errors.New("git is not installed")
	}
	if _, err := gitLine(ctx, path, "rev-parse", "--git-dir"); err != nil {
		return nil, err
	}
	head, err := gitLine(ctx, path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if err != nil {
		return nil, errors.New("the repository has no commits")
	}
	src := &source{scope: repositoryName(ctx, path)}
	for _, lines := range []bool{true, false} {
		src.changes, src.notes = nil, nil
		if err = src.readLog(ctx, path, head, most, lines); err == nil {
			break // without line counts a clone that lacks file contents can be read, too
		}
	}
	if err != nil {
		return nil, err
	}
	if shallow, err := gitLine(ctx, path, "rev-parse", "--is-shallow-repository"); err == nil && shallow == "true" {
		src.notes = append(src.notes, "The clone is shallow: its history begins with the first commit that it holds.")
	}
	return src, nil
}

// repositoryName returns the last name of the working tree's folder.
func repositoryName(ctx context.Context, path string) string {
	top, err := gitLine(ctx, path, "rev-parse", "--show-toplevel")
	if err != nil { // a bare repository has none
		top, _ = filepath.Abs(path)
	}
	return scopeName(top)
}

// scopeName returns the last name of a path as a scope.
func scopeName(path string) string {
	base := strings.TrimSuffix(filepath.Base(filepath.ToSlash(path)), ".git")
	if base == "" || base == "." || base == string(filepath.Separator) {
		base = "repository"
	}
	return entityName("", plainName(base))
}

// readLog adds the commits that head leads to. lines says whether lines are counted, for which git reads contents.
func (s *source) readLog(ctx context.Context, path, head string, most int, lines bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := []string{"log", "--topo-order", "--reverse", "--max-count=" + strconv.Itoa(most), "-z",
		"--pretty=tformat:%x01%H%x00%P%x00%ct%x00%s", "--encoding=UTF-8", "--raw", "-M", "--no-relative",
		"--no-color", "--no-notes", "--no-decorate", "--no-show-signature", "--no-ext-diff", "--no-textconv"}
	if lines {
		args = append(args, "--numstat")
	}
	cmd := git(ctx, path, append(args, head, "--")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	deadline := time.Now().Add(historyTime)
	log := logReader{r: bufio.NewReaderSize(out, 64<<10)}
	for log.next() {
		s.changes = append(s.changes, log.change)
		if time.Now().After(deadline) {
			note := fmt.Sprintf("Reading stopped after %v with %s.", historyTime, plural(len(s.changes), "commit"))
			s.notes = append(s.notes, note)
			cancel()
			_ = cmd.Wait() // it was killed here
			return nil
		}
	}
	if log.err != nil {
		cancel() // it may be waiting for somebody to read the rest
	}
	if err := cmd.Wait(); err != nil && log.err == nil {
		return fmt.Errorf("git log: %w: %s", err, firstLine(stderr.String()))
	}
	if log.err != nil {
		return fmt.Errorf("git log: %w", log.err)
	}
	if len(s.changes) == most {
		s.notes = append(s.notes, fmt.Sprintf("Only the newest %s: -max-commits takes more.", plural(most, "commit")))
	}
	return nil
}

// git returns a git command that neither asks, nor fetches, nor writes.
func git(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", path}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "GIT_TERMINAL_PROMPT=0")
	return cmd
}

// gitLine returns the one line that a git command prints.
func gitLine(ctx context.Context, path string, args ...string) (string, error) {
	cmd := git(ctx, path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git: %s", firstLine(stderr.String()+"\n"+err.Error()))
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(out), "\n"), "\r"), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// A logReader reads what [source.readLog] asks git for: tokens that end in NUL.
//
//	\x01 hash | parents | committer's time | subject
//	[LF, then    :modes and hashes status | path | [path behind a rename or copy]  for each file
//	             added TAB deleted TAB path                                        for each file, or
//	             added TAB deleted TAB | path | path behind it                     for a rename or copy]
type logReader struct {
	r      *bufio.Reader
	ahead  *string
	change change
	err    error
}

var errLog = errors.New("unexpected output")

// peek returns the next token and keeps it; "" and false at the end.
func (l *logReader) peek() (string, bool) {
	if l.ahead == nil && l.err == nil {
		token, err := l.r.ReadString(0)
		if err != nil {
			if len(token) > 0 || !errors.Is(err, io.EOF) {
				l.err = fmt.Errorf("%w: cut off", errLog)
			}
			return "", false
		}
		token = strings.TrimSuffix(token, "\x00")
		l.ahead = &token
	}
	if l.ahead == nil {
		return "", false
	}
	return *l.ahead, true
}

// take returns the next token.
func (l *logReader) take() string {
	token, ok := l.peek()
	if !ok && l.err == nil {
		l.err = fmt.Errorf("%w: ends early", errLog)
	}
	l.ahead = nil
	return token
}

// next reads one commit into l.change, and reports whether there was one.
func (l *logReader) next() bool {
	if _, more := l.peek(); !more {
		return false
	}
	hash, ok := strings.CutPrefix(l.take(), "\x01")
	parents, when, subject := strings.Fields(l.take()), l.take(), l.take()
	seconds, err := strconv.ParseInt(when, 10, 64)
	if l.err == nil && (!ok || err != nil) {
		l.err = fmt.Errorf("%w: commit %q", errLog, hash)
	}
	if token, more := l.peek(); more {
		*l.ahead = strings.TrimPrefix(token, "\n") // what parts the files from the subject
	}
	files := l.files(hash)
	l.change = change{Key: hash, Files: files, Commit: &commit{
		Hash: hash, Subject: plainSubject(subject), Files: len(files), Parents: parents,
		Time: time.Unix(seconds, 0).UTC().Format(time.RFC3339),
	}}
	return l.err == nil
}

// files reads the files of one commit.
func (l *logReader) files(hash string) []file {
	var files []file
	at := make(map[string]int) // path → index
	for token, more := l.peek(); more && strings.HasPrefix(token, ":"); token, more = l.peek() {
		l.take()
		status := token[strings.LastIndexByte(token, ' ')+1:]
		if status == "" {
			l.err = fmt.Errorf("%w: %q", errLog, token)
			return nil
		}
		f := file{Status: status[:1], Commit: hash}
		if f.Status == "R" || f.Status == "C" {
			f.From = plainName(l.take())
		}
		f.Path = plainName(l.take())
		at[f.Path] = len(files)
		files = append(files, f)
	}
	for token, more := l.peek(); more && strings.Count(token, "\t") >= 2; token, more = l.peek() {
		l.take()
		stat := strings.SplitN(token, "\t", 3)
		if stat[2] == "" {
			l.take()
			stat[2] = l.take()
		}
		if i, ok := at[plainName(stat[2])]; ok {
			files[i].Added, files[i].Deleted = lineCount(stat[0]), lineCount(stat[1])
		}
	}
	return files
}

// lineCount parses a number of lines; "-" stands for a binary file.
func lineCount(s string) *int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil
	}
	return &n
}

// plainSubject returns a commit's subject as text that can be printed.
func plainSubject(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
