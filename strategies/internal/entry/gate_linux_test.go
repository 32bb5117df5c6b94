package entry

import (
	"debug/elf"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// The gate. What runs in a helper process has no Go runtime below it, and the
// compiler does not know that. So this test builds a program in every way in which Go
// programs are built, disassembles all that can be reached from the entry, and refuses
// whatever needs a runtime. A new version of Go that compiles the same source to
// something else fails here, and not in a supervisor.

// packagePath is how the linker names what is ours.
const packagePath = "github.com/seed329817d7/contain/strategies/internal/entry."

// leaves are what may be called outside of this package: code that needs neither a
// goroutine nor its stack.
var leaves = map[string]string{
	"runtime.memmove":              "copies; assembly without a frame",
	"runtime.memclrNoHeapPointers": "clears; assembly without a frame",
	"runtime.duffzero":             "clears; assembly without a frame",
	"runtime.duffcopy":             "copies; assembly without a frame",
	// Never reached: every index is bounded before. If one were, the helper would die
	// of SIGSEGV, and its end ends the tree as that of any killed helper does.
	"runtime.panicBounds":    "an index out of range",
	"runtime.panicIndex":     "the same, before Go 1.26",
	"runtime.panicIndexU":    "the same, before Go 1.26",
	"runtime.panicSliceB":    "the same, before Go 1.26",
	"runtime.panicSliceAcap": "the same, before Go 1.26",
	"runtime.panicSliceAlen": "the same, before Go 1.26",
}

// stackOfOurs is what supervisor and leader have, stackOfKernel what the rest may
// take of the stack that execve(2) made, whose limit is far above.
const (
	stackOfOurs   = 16<<10 - 512
	stackOfKernel = 64 << 10
)

type gateBuild struct {
	name string
	arch string
	args []string
	env  []string
	cgo  bool // needs a C compiler for that architecture
}

func gateBuilds() []gateBuild {
	var builds []gateBuild
	for _, arch := range []string{"amd64", "arm64"} {
		builds = append(builds,
			gateBuild{name: "default", arch: arch},
			gateBuild{name: "unoptimised", arch: arch, args: []string{"-gcflags=all=-N -l"}},
			gateBuild{name: "pie", arch: arch, args: []string{"-buildmode=pie"}},
			gateBuild{name: "cover", arch: arch, args: []string{"-cover", "-covermode=atomic", "-coverpkg=" + strings.TrimSuffix(packagePath, ".")}},
			gateBuild{name: "race", arch: arch, args: []string{"-race"}, cgo: true},
			gateBuild{name: "c-shared", arch: arch, args: []string{"-buildmode=c-shared"}, cgo: true},
		)
	}
	return append(builds, gateBuild{name: "v3", arch: "amd64", env: []string{"GOAMD64=v3"}})
}

// TestGate reads the code of every build with CONTAIN_FULL=1, as .ci/run does, and else
// of the default build.
func TestGate(t *testing.T) {
	for _, b := range gateBuilds() {
		t.Run(b.arch+"/"+b.name, func(t *testing.T) {
			if b.cgo && b.arch != runtime.GOARCH {
				t.Skip("needs a C compiler for " + b.arch)
			}
			if b.name != "default" && os.Getenv("CONTAIN_FULL") != "1" {
				t.Skip("set CONTAIN_FULL=1 for this build")
			}
			p := openProgram(t, b)
			findings := p.check(t)
			for _, f := range findings {
				t.Error(f)
			}
		})
	}
}

// build builds the host and returns its path.
func (b gateBuild) build(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "host")
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", out}, b.args, []string{"./testdata/host"})...)
	cgo := "CGO_ENABLED=0"
	if b.cgo {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = slices.Concat(os.Environ(), []string{"GOOS=linux", "GOARCH=" + b.arch, cgo}, b.env)
	if text, err := cmd.CombinedOutput(); err != nil {
		if b.cgo {
			if _, missing := exec.LookPath("gcc"); missing != nil {
				t.Skip("needs a C compiler: ", missing)
			}
		}
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
	return out
}

// codeOf is the code of one build.
type codeOf struct {
	arch      string
	text      []byte
	base      uint64
	functions []function // by address
	roots     []string
}

type function struct {
	name     string
	from, to uint64
}

// An instruction is what the gate has to know of one.
type instruction struct {
	at       uint64
	text     string
	call     uint64 // the target of a direct call or jump, 0 if it is none
	indirect bool   // a call through a register or memory
	jump     bool   // a jump through a register or memory
	runtime  string // what of Go's runtime it uses
	grows    int    // the frame, by so many bytes
}

func openProgram(t *testing.T, b gateBuild) *codeOf {
	t.Helper()
	f, err := elf.Open(b.build(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &codeOf{arch: b.arch, roots: append(functionVariables(t), "endThreads", "resetHandlers")}
	section := f.Section(".text")
	if p.text, err = section.Data(); err != nil {
		t.Fatal(err)
	}
	p.base = section.Addr
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value >= p.base && s.Value < p.base+uint64(len(p.text)) {
			p.functions = append(p.functions, function{name: strings.TrimSuffix(s.Name, ".abi0"), from: s.Value})
		}
	}
	slices.SortFunc(p.functions, func(a, b function) int { return int(int64(a.from) - int64(b.from)) })
	for i := range p.functions {
		p.functions[i].to = p.base + uint64(len(p.text))
		for _, next := range p.functions[i+1:] {
			if next.from > p.functions[i].from {
				p.functions[i].to = next.from
				break
			}
		}
	}
	return p
}

// functionVariables returns the functions that package-level variables hold: what is
// called through them is a root, for no call names it. It fails where the source has
// another way to call what cannot be told from here.
func functionVariables(t *testing.T) (names []string) {
	t.Helper()
	fset := token.NewFileSet()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok {
				t.Errorf("%v: an interface, whose methods the gate cannot follow", fset.Position(i.Pos()))
			}
			return true
		})
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				for i, value := range spec.(*ast.ValueSpec).Values {
					if strings.HasSuffix(spec.(*ast.ValueSpec).Names[i].Name, "Func") {
						names = append(names, types.ExprString(value))
					}
				}
			}
		}
	}
	if !slices.Contains(names, "program") {
		t.Fatalf("%q: program is not among them", names)
	}
	return names
}

// check returns all that is wrong with the code that can be reached.
func (p *codeOf) check(t *testing.T) (findings []string) {
	depths := map[uint64]int{}
	var open []string
	var visit func(f function) int
	visit = func(f function) int {
		if d, ok := depths[f.from]; ok {
			if d < 0 {
				findings = append(findings, fmt.Sprintf("%s calls itself, by way of %q: the stack has no bound", f.name, open))
				return 0
			}
			return d
		}
		depths[f.from] = -1
		open = append(open, f.name)
		frame, below := 0, 0
		assembly := !strings.Contains(f.name, packagePath) || p.isAssembly(f)
		for _, in := range p.instructions(f) {
			frame += in.grows
			where := fmt.Sprintf("%s at %#x: %s", f.name, in.at, in.text)
			switch {
			case in.runtime != "" && !assembly:
				findings = append(findings, where+": "+in.runtime)
			case in.jump && !assembly:
				findings = append(findings, where+": a jump by a table")
			}
			if in.call == 0 || in.call >= f.from && in.call < f.to {
				continue
			}
			callee, ok := p.functionAt(in.call)
			switch {
			case !ok:
				findings = append(findings, where+": goes to no function")
			case strings.HasPrefix(callee.name, packagePath):
				below = max(below, visit(callee))
			case leaves[callee.name] == "":
				findings = append(findings, where+": "+callee.name+" is not among what may be called")
			}
		}
		open = open[:len(open)-1]
		depths[f.from] = frame + below + 16 // return address, frame pointer
		return depths[f.from]
	}
	kernel := 0
	for _, root := range p.roots {
		f, ok := p.find(packagePath + root)
		if !ok {
			findings = append(findings, root+" is not in the program")
			continue
		}
		depth := visit(f)
		switch root {
		case "supervise", "lead":
			if depth > stackOfOurs {
				findings = append(findings, fmt.Sprintf("%s needs %d bytes of stack, and has %d", root, depth, stackOfOurs))
			}
		default: // one may call the others
			kernel += depth
		}
	}
	if kernel > stackOfKernel {
		findings = append(findings, fmt.Sprintf("the helper needs up to %d bytes of stack, and may take %d", kernel, stackOfKernel))
	}
	if len(depths) < 50 {
		findings = append(findings, fmt.Sprintf("only %d functions were read", len(depths)))
	}
	t.Logf("%d functions, %d bytes of the kernel's stack", len(depths), kernel)
	slices.Sort(findings)
	return slices.Compact(findings)
}

func (p *codeOf) find(name string) (function, bool) {
	i := slices.IndexFunc(p.functions, func(f function) bool { return f.name == name })
	if i < 0 {
		return function{}, false
	}
	return p.functions[i], true
}

func (p *codeOf) functionAt(address uint64) (function, bool) {
	i, ok := slices.BinarySearchFunc(p.functions, address, func(f function, a uint64) int { return int(int64(f.from) - int64(a)) })
	if !ok {
		if i == 0 {
			return function{}, false
		}
		i-- // into the middle: duffzero is entered so
	}
	return p.functions[i], true
}

// isAssembly tells our own assembly, which clears and jumps as it has to, and is read by people.
func (p *codeOf) isAssembly(f function) bool {
	switch strings.TrimPrefix(f.name, packagePath) {
	case "Start", "program<>", "becomeProgram", "prepare", "system", "cloneOnto", "endThread":
		return true
	}
	return false
}

func (p *codeOf) instructions(f function) (list []instruction) {
	code := p.text[f.from-p.base : f.to-p.base]
	for at := 0; at < len(code); {
		var in instruction
		var n int
		if p.arch == "amd64" {
			in, n = readAMD64(code[at:], f.from+uint64(at))
		} else {
			in, n = readARM64(code[at:], f.from+uint64(at))
		}
		list = append(list, in)
		at += n
	}
	return list
}

func readAMD64(code []byte, at uint64) (instruction, int) {
	in := instruction{at: at}
	x, err := x86asm.Decode(code, 64)
	if err != nil {
		if n := vexLength(code); n > 0 {
			in.text = "a VEX instruction"
			return in, n
		}
		in.text = fmt.Sprintf("% x", code[:min(len(code), 12)])
		if code[0] != 0xcc && code[0] != 0 { // padding
			in.runtime = "cannot be read: " + err.Error()
		}
		return in, 1
	}
	in.text = x86asm.GoSyntax(x, at, nil)
	for _, arg := range x.Args {
		switch a := arg.(type) {
		case x86asm.Reg:
			if a == x86asm.R14 || a == x86asm.R14L {
				in.runtime = "uses the goroutine's register"
			}
		case x86asm.Mem:
			if a.Segment == x86asm.FS || a.Segment == x86asm.GS {
				in.runtime = "uses thread-local storage"
			}
			if a.Base == x86asm.R14 || a.Index == x86asm.R14 {
				in.runtime = "uses the goroutine's register"
			}
		}
	}
	switch x.Op {
	case x86asm.CALL, x86asm.JMP:
		if to, ok := x.Args[0].(x86asm.Rel); ok {
			in.call = at + uint64(x.Len) + uint64(int64(to))
		} else if x.Op == x86asm.JMP {
			in.jump = true
		} else {
			in.indirect = true
		}
	case x86asm.PUSH:
		in.grows = 8
	case x86asm.SUB, x86asm.ADD:
		if by, ok := x.Args[1].(x86asm.Imm); ok && x.Args[0] == x86asm.RSP {
			if x.Op == x86asm.ADD {
				by = -by
			}
			in.grows = max(0, int(by))
		}
	}
	return in, x.Len
}

// vexLength is the length of an instruction with a VEX prefix, which x86asm does not
// know: GOAMD64=v3 has some on general registers. It is 0 for any other.
func vexLength(code []byte) int {
	at, opcodes := 0, byte(1)
	switch {
	case len(code) > 4 && code[0] == 0xc5:
		at = 2
	case len(code) > 5 && code[0] == 0xc4:
		at, opcodes = 3, code[1]&0x1f
	default:
		return 0
	}
	at++ // the opcode
	modrm := code[at]
	at++
	mode, rm := modrm>>6, modrm&7
	if mode != 3 && rm == 4 {
		if mode == 0 && code[at]&7 == 5 {
			at += 4
		}
		at++
	} else if mode == 0 && rm == 5 {
		at += 4
	}
	switch mode {
	case 1:
		at++
	case 2:
		at += 4
	}
	if opcodes == 3 {
		at++ // an immediate
	}
	return at
}

func readARM64(code []byte, at uint64) (instruction, int) {
	in := instruction{at: at}
	x, err := arm64asm.Decode(code)
	if err != nil {
		in.text = fmt.Sprintf("% x", code[:4])
		if word := uint32(code[0]) | uint32(code[1])<<8 | uint32(code[2])<<16 | uint32(code[3])<<24; word != 0 && !atomicARM64(word) {
			in.runtime = "cannot be read: " + err.Error()
		}
		return in, 4
	}
	in.text = x.String()
	for _, word := range strings.FieldsFunc(in.text, func(r rune) bool { return strings.ContainsRune(" ,[]!#()", r) }) {
		switch word {
		case "X28", "W28":
			in.runtime = "uses the goroutine's register"
		case "TPIDR_EL0", "S3_3_C13_C0_2":
			in.runtime = "uses thread-local storage"
		}
	}
	switch x.Op {
	case arm64asm.B, arm64asm.BL:
		for _, arg := range x.Args {
			if to, ok := arg.(arm64asm.PCRel); ok {
				in.call = at + uint64(int64(to))
			}
		}
	case arm64asm.BR:
		in.jump = true
	case arm64asm.BLR:
		in.indirect = true
	case arm64asm.SUB:
		var by int
		if n, _ := fmt.Sscanf(in.text, "SUB SP, SP, #0x%x", &by); n == 1 {
			in.grows = by
		}
	case arm64asm.STR:
		var by int
		if n, _ := fmt.Sscanf(in.text, "STR X30, [SP,#-%d]!", &by); n == 1 {
			in.grows = by
		}
	}
	return in, 4
}

// atomicARM64 tells the atomic instructions of ARMv8.1, which arm64asm does not know:
// LDADD and its like, by the "Atomic memory operations" table of the Arm manual.
func atomicARM64(word uint32) bool { return word&0x3b200c00 == 0x38200000 }
