//go:build linux

package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// goroot is a scratch copy of the installed Go whose os/exec has the hook.
type goroot struct {
	dir string
	env []string // for its go command
}

// layGoroot makes the copy in dir: the standard library as files, the rest as links.
func layGoroot(dir, hook string) (*goroot, error) {
	out, err := output(exec.Command("go", "env", "GOROOT"))
	if err != nil {
		return nil, err
	}
	installed := strings.TrimSpace(out)
	entries, err := os.ReadDir(installed)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == "src" {
			continue
		}
		if err := os.Symlink(filepath.Join(installed, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	if err := copyStd(filepath.Join(dir, "src"), filepath.Join(installed, "src")); err != nil {
		return nil, err
	}
	g := &goroot{dir: dir, env: append(os.Environ(), "GOROOT="+dir, "GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")}
	if err := g.vendor(); err != nil {
		return nil, err
	}
	return g, g.addHook(hook)
}

// copyStd copies the standard library, without the commands.
func copyStd(to, from string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		switch {
		case err != nil:
			return err
		case rel == "cmd":
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !e.Type().IsRegular(): // a link in some test's data
			return nil
		}
		return copyFile(filepath.Join(to, rel), name)
	})
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// vendor lays this module and what it needs where the standard library keeps its
// own dependencies: it may import nothing else.
func (g *goroot) vendor() error {
	list := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{.ImportPath}} {{.Dir}}{{end}}", "./strategies/linux", "./app/containment")
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := output(list)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		importPath, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		to := filepath.Join(g.dir, "src/vendor", importPath)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.IsDir() || strings.HasSuffix(f.Name(), "_test.go") {
				continue
			}
			if err := copyFile(filepath.Join(to, f.Name()), filepath.Join(dir, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// addHook makes (*exec.Cmd).Start call a variable first, and lays the file that
// sets it into the test packages.
func (g *goroot) addHook(hook string) error {
	dir := filepath.Join(g.dir, "src/os/exec")
	name := filepath.Join(dir, "exec.go")
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	start := methodOfCmd(f, "Start")
	if start == nil {
		return fmt.Errorf("%s has no method Start of *Cmd with a named receiver that could be hooked", name)
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	after := fset.Position(start.Body.Lbrace).Offset + 1
	b.Write(src[:after])
	fmt.Fprintf(&b, "\nif ContainHook != nil {\nif handled, err := ContainHook(%s); handled {\nreturn err\n}\n}\n", start.Recv.List[0].Names[0].Name)
	b.Write(src[after:])
	b.WriteString("\n// ContainHook may start a command in place of Start.\nvar ContainHook func(*Cmd) (handled bool, err error)\n")
	patched, err := format.Source(b.Bytes())
	if err != nil {
		return fmt.Errorf("%s with the hook: %w", name, err)
	}
	if err := os.WriteFile(name, patched, 0o644); err != nil {
		return err
	}
	for _, pkg := range packages {
		laid := filepath.Join(g.dir, "src", pkg, "zz_contain_test.go")
		text := strings.Replace(hook, "PACKAGE", path.Base(pkg), 1)
		if err := os.WriteFile(laid, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func methodOfCmd(f *ast.File, name string) *ast.FuncDecl {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Name.Name != name || fn.Recv == nil || len(fn.Recv.List[0].Names) != 1 || fn.Body == nil {
			continue
		}
		if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
			if t, ok := star.X.(*ast.Ident); ok && t.Name == "Cmd" {
				return fn
			}
		}
	}
	return nil
}

// build compiles a package's tests and returns the file.
func (g *goroot) build(pkg string) (string, error) {
	binary := filepath.Join(filepath.Dir(g.dir), path.Base(pkg)+".test")
	cmd := exec.Command(filepath.Join(g.dir, "bin/go"), "test", "-c", "-o", binary, pkg)
	cmd.Env, cmd.Dir = g.env, filepath.Join(g.dir, "src", pkg)
	_, err := output(cmd)
	return binary, err
}

// starters returns the tests of a package that start processes: those that
// mention package os/exec, the helper testenv.Command, or a function that does.
func (g *goroot) starters(pkg string) ([]string, error) {
	list := exec.Command(filepath.Join(g.dir, "bin/go"), "list", "-f", `{{range .TestGoFiles}}{{.}} {{end}}{{range .XTestGoFiles}}{{.}} {{end}}`, pkg)
	list.Env = g.env
	names, err := output(list)
	if err != nil {
		return nil, err
	}
	mentions := map[string]map[string]bool{} // function to what it mentions
	for _, name := range strings.Fields(names) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(g.dir, "src", pkg, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Body != nil {
				mentions[fn.Name.Name] = mentioned(fn.Body)
			}
		}
	}
	starts := map[string]bool{"exec.Command": true, "exec.CommandContext": true, "exec.Cmd": true, "testenv.Command": true, "testenv.CommandContext": true}
	for grown := true; grown; {
		grown = false
		for fn, words := range mentions {
			for w := range words {
				if starts[w] && !starts[fn] {
					starts[fn], grown = true, true
				}
			}
		}
	}
	var tests []string
	for fn := range mentions {
		if starts[fn] && strings.HasPrefix(fn, "Test") && fn != "TestMain" {
			tests = append(tests, fn)
		}
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("no test of %s starts a process", pkg)
	}
	return tests, nil
}

// mentioned returns the names that a body uses.
func mentioned(body ast.Node) map[string]bool {
	words := map[string]bool{}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				words[x.Name+"."+n.Sel.Name] = true
			}
		case *ast.Ident:
			words[n.Name] = true
		}
		return true
	})
	return words
}

// output runs a command and returns what it prints, or what it says when it fails.
func output(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.String(), nil
}
