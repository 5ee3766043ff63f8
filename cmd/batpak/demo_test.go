package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"batpak/coordinate"
)

// A testRepo is a repository made by git commands.
type testRepo struct {
	t   *testing.T
	dir string
}

// newRepo makes an empty repository.
func newRepo(t *testing.T) *testRepo {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("NOT TESTED: the demo on a clone: git is not installed")
	}
	r := &testRepo{t, filepath.Join(t.TempDir(), "sample")}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.git("init", "-q", "-b", "main")
	return r
}

// git runs one git command that must succeed.
func (r *testRepo) git(args ...string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-C", r.dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Private Person", "GIT_AUTHOR_EMAIL=private@example.org",
		"GIT_COMMITTER_NAME=Private Person", "GIT_COMMITTER_EMAIL=private@example.org")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// commit writes files (name, content) and commits them.
func (r *testRepo) commit(subject string, files ...string) {
	r.t.Helper()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(r.dir, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", subject)
}

// oddRepo makes a repository with everything that a history can hold: a merge, a rename, a binary file, an empty
// commit, no subject, odd names.
func oddRepo(t *testing.T) *testRepo {
	r := newRepo(t)
	r.commit("first\nof two lines\n\nbody", "a b.txt", "1\n2\n3\n4\n5\n", "bin", "\x00\x01\x02")
	r.git("mv", "a b.txt", "c d.txt")
	r.commit("rename")
	r.git("checkout", "-q", "-b", "side")
	r.commit("on the side", "side.txt", "x\n", "tab\ty", "1", `quote"%`, "1")
	r.git("checkout", "-q", "main")
	r.commit("", "hot.txt", "1\n")
	r.git("merge", "-q", "-m", "merge\x1b[31m", "side")
	r.commit("nothing")
	if runtime.GOOS == "linux" {
		r.commit("not UTF-8 \xff", "lat\xedn\n.txt", "1")
	}
	for i := range 12 {
		r.commit(fmt.Sprintf("change %d", i), "hot.txt", strings.Repeat("line\n", i+2))
	}
	return r
}

func TestDemo(t *testing.T) {
	repo := oddRepo(t)
	dir := filepath.Join(t.TempDir(), "kept")
	out := mustRun(t, "", "demo", "-repo", repo.dir, "-dir", dir, "-keep")
	t.Log("\n" + out)
	for _, want := range []string{
		"from     sample\n",
		"and was killed: ",
		"rung  ",
		"commits acknowledged, ",
		"with the same hashes",
		"file:hot.txt: changed 13 times",
		"The newest commit and what caused it",
		"change 11", "change 10", "change 6",
		"ok   0 findings",
		"events/s",
		"kept in " + dir,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("demo printed no %q", want)
		}
	}
	checkKilled(t, out)
	for _, never := range []string{"FAIL", "\x1b", "Private", "private@"} {
		if strings.Contains(out, never) {
			t.Errorf("demo printed %q", never)
		}
	}
	lines := mustRun(t, "", "read", dir)
	for _, want := range []string{`"entity":"file:tab%09y"`, `"entity":"file:quote\"%25"`, `"status":"R","added":0,"deleted":0`, `"other-parents":`} {
		if !strings.Contains(lines, want) {
			t.Errorf("read of the demo's store printed no %s", want)
		}
	}
	if strings.Contains(lines, "Private") || strings.Contains(lines, "private@") {
		t.Error("the demo's store holds the author")
	}
}

// checkKilled looks for a kill that came after some acknowledgements and before the last one, and at whether all of them
// were found.
func checkKilled(t *testing.T, out string) {
	t.Helper()
	var acked, all, again, found int
	_, rest, _ := strings.Cut(out, "It acknowledged ")
	if _, err := fmt.Sscanf(rest, "%d of %d commits and was killed:", &acked, &all); err != nil || acked < all/2 || acked >= all {
		t.Errorf("killed after %d of %d acknowledgements, %v; want about half of them", acked, all, err)
	}
	_, rest, _ = strings.Cut(out, "ok   ")
	if _, err := fmt.Sscanf(rest, "%d commits acknowledged, %d of them found unchanged", &again, &found); err != nil || again != acked || found != acked {
		t.Errorf("%d of %d acknowledged commits found, %v; want %d", found, again, err, acked)
	}
}

// TestDemoRuns performs the demo on inputs that are not a common history.
func TestDemoRuns(t *testing.T) {
	tiny := newRepo(t)
	tiny.commit("only", "one.txt", "1\n")
	empty := newRepo(t)
	if err := os.WriteFile(filepath.Join(empty.dir, "found.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	bare := newRepo(t)
	bare.commit("empty")
	shallow := newRepo(t)
	shallow.commit("one", "a", "1")
	shallow.commit("two", "a", "2")
	shallow.commit("three", "a", "3")
	clone := filepath.Join(t.TempDir(), "clone")
	shallow.git("clone", "-q", "--depth=2", "file://"+filepath.ToSlash(shallow.dir), clone)
	tree := t.TempDir()
	for i := range 10 {
		name := filepath.Join(tree, fmt.Sprintf("file %d", i))
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Time{}, time.Unix(int64(1e9-i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, repo string
		want       []string
	}{
		{"one commit", tiny.dir, []string{"commits  1\n", "ok   1 commit acknowledged, 1 of them found"}},
		{"no commit", empty.dir, []string{"NO HISTORY: the repository has no commits", "file:found.txt: changed 1 time"}},
		{"no file", bare.dir, []string{"No commit touched a file"}},
		{"shallow", clone, []string{"The clone is shallow", "commits  2\n"}},
		{"no repository", tree, []string{"NO HISTORY: git: fatal: not a git repository", "files   10\n", "files acknowledged"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			t.Setenv("TMP", os.Getenv("TMPDIR"))
			out := mustRun(t, "", "demo", "-repo", tt.repo)
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("demo printed\n%s\nwant %q in it", out, want)
				}
			}
			if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
				t.Errorf("the demo left %v", left)
			}
		})
	}
}

func TestDemoOfNothing(t *testing.T) {
	o := batpakRun(t, nil, "demo", "-repo", t.TempDir())
	if o.code != exitFailed || !strings.Contains(o.err, "nothing to store") {
		t.Errorf("demo on an empty folder = %d, %q, want 2, nothing to store", o.code, o.err)
	}
}

// TestDemoManyFiles stores a commit that touches more files than one batch may hold.
func TestDemoManyFiles(t *testing.T) {
	repo := newRepo(t)
	var files []string
	for i := range demoBatch + 10 {
		files = append(files, fmt.Sprintf("f%d", i), "x")
	}
	repo.commit("many", files...)
	repo.commit("one", "f0", "y")
	repo.commit("two", "f0", "z")
	out := mustRun(t, "", "demo", "-repo", repo.dir)
	if want := count(demoBatch+15) + " events in the store"; !strings.Contains(out, want) {
		t.Errorf("demo printed\n%s\nwant %q in it", out, want)
	}
}

func TestReadHistory(t *testing.T) {
	repo := oddRepo(t)
	src, err := readHistory(t.Context(), repo.dir, 1000)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, ch := range src.changes {
		for _, parent := range ch.Commit.Parents {
			if !seen[parent] {
				t.Errorf("commit %s comes before its parent", ch.Key)
			}
		}
		seen[ch.Key] = true
		for _, f := range ch.Files {
			if err := coordinate.Check("entity", entityName("file:", f.Path)); err != nil {
				t.Errorf("path %q: %v", f.Path, err)
			}
		}
	}
	first := src.changes[0]
	if first.Commit.Subject != "first of two lines" || len(first.Files) != 2 || *first.Files[0].Added != 5 || first.Files[1].Added != nil {
		t.Errorf("first change = %+v", first)
	}
	if last, err := readHistory(t.Context(), repo.dir, 3); err != nil || len(last.changes) != 3 || len(last.notes) != 1 {
		t.Errorf("readHistory of 3 = %+v, %v, want the newest three and a note", last, err)
	}
}

// TestLogReaderDamage: output that is cut anywhere is an error or a prefix of the changes.
func TestLogReaderDamage(t *testing.T) {
	whole := "\x01aa\x00\x0012\x00s\x00\n:1 2 a b R100\x00old\x00new\x00:1 2 a b M\x00x\x001\t2\t\x00old\x00new\x00-\t-\tx\x00" +
		"\x01bb\x00aa cc\x0013\x00\x00"
	for n := range len(whole) + 1 {
		log := logReader{r: bufio.NewReader(strings.NewReader(whole[:n]))}
		changes := 0
		for log.next() {
			changes++
		}
		complete := n == 0 || n == len(whole) || whole[n-1] == 0 && log.err == nil
		if !complete && !errors.Is(log.err, errLog) || n == len(whole) && changes != 2 {
			t.Errorf("%d of %d bytes: %d changes, %v", n, len(whole), changes, log.err)
		}
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"plain/é.go":   "plain/é.go",
		"100%":         "100%25",
		"a\xffb":       "a%FFb",
		"a\nb\x7f":     "a%0Ab%7F",
		"c1\u0085":     "c1%C2%85",
		"\xed\xa0\x80": "%ED%A0%80",
	} {
		if got := plainName(in); got != want {
			t.Errorf("plainName(%q) = %q, want %q", in, got, want)
		}
	}
	long := strings.Repeat("é", 600)
	a, b := entityName("file:", long+"a"), entityName("file:", long+"b")
	if a == b || len(a) > coordinate.MaxLen || !utf8.ValidString(a) || !strings.HasPrefix(a, "file:éé") {
		t.Errorf("entityName of a long name = %q", a)
	}
}

// TestWriterGone: a feeder whose process is gone ends.
func TestWriterGone(t *testing.T) {
	f := feeder{in: nopWriteCloser{io.Discard}, window: make(chan struct{}, 1), gone: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		f.feed(make([]change, 10), time.Now().Add(time.Hour))
		close(done)
	}()
	close(f.gone)
	<-done
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }
