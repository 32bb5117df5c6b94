package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/inventory"
)

const schemas = "../../../../.docs/schemas"

// strict returns a schema that allows no key which is not described: users may get more
// keys one day, but not without a description.
func strict(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(schemas, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var close func(node any)
	close = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if _, object := node["properties"].(map[string]any); object {
				node["additionalProperties"] = false
			}
			for _, below := range node {
				close(below)
			}
		case []any:
			for _, below := range node {
				close(below)
			}
		}
	}
	close(doc)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return schema
}

// holds checks what value is as JSON against a schema, and that the schema refuses it once
// a required key is missing, or one is there that is not described.
func holds(t *testing.T, name string, value any) {
	t.Helper()
	schema := strict(t, name)
	text, isText := value.(string)
	if !isText {
		b, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("%s.json: %v\n%s", name, err, text)
	}
	top := doc.(map[string]any)
	top["surplus"] = 1
	if schema.Validate(doc) == nil {
		t.Errorf("%s.json allows a key that is not described", name)
	}
	delete(top, "surplus")
	delete(top, "schema")
	if schema.Validate(doc) == nil {
		t.Errorf("%s.json does not require the key schema", name)
	}
}

// TestSchemas: the JSON of every command, and of Status, is as .docs/schemas says.
func TestSchemas(t *testing.T) {
	t.Parallel()
	reg := registry.Default()
	for _, host := range []registry.Platform{registry.CurrentPlatform(), registry.PlatformDarwin, registry.PlatformWindows} {
		holds(t, "describe", newReport(t.Context(), reg, host, rank(reg, host, "")))
	}
	d := newReport(t.Context(), reg, registry.CurrentPlatform(), rank(reg, registry.CurrentPlatform(), ""))
	d.Enclosing = &enclosingJob{InJob: true, Breakaway: "refused", Limits: []string{"JOB_OBJECT_LIMIT_BREAKAWAY_OK"}, Reason: "no reason"}
	holds(t, "describe", d)

	row := psRow{ID: "1-a", Strategy: "linux/subreaper", Processes: 1, Age: "1m2s", Seconds: 62}
	row.addMembers([]inventory.Member{{Process: inventory.Process{PID: 2, Name: "sh"}, Parent: 1, Memory: 1 << 20}})
	for _, rows := range [][]psRow{{}, {row}} {
		text, err := psJSON(rows)
		if err != nil {
			t.Fatal(err)
		}
		holds(t, "ps", text)
	}

	event := proofRow{Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Failures: []string{}, Skips: []string{"why"}, Late: []string{}}
	holds(t, "prove", proof{Schema: 1, Rows: []proofRow{event}, Unusable: []unusable{{Name: "x"}}, Unproved: []string{"y"}})

	three := 3
	holds(t, "report", runReport{Schema: 1, Command: []string{"sh"}, Status: &three, KilledProcesses: []registry.Member{{PID: 1, Name: "x"}}, Error: "no reason"})
	holds(t, "report", runReport{Schema: 1, Command: []string{"sh"}, KilledProcesses: []registry.Member{}, Signal: 9})

	c := containment.New(containment.Config{OutliveParent: true, BestEffort: true})
	holds(t, "status", c.Status())
	if err := c.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds(t, "status", c.Status())
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds(t, "status", c.Status())
}

// TestSchemaOfProofs: what contain prove wrote on real systems is as .docs/schemas says.
func TestSchemaOfProofs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../../.docs/proofs/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var recorded struct{ Proof json.RawMessage }
		if err := json.Unmarshal(b, &recorded); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		proof := string(recorded.Proof)
		if proof == "" {
			proof = string(b)
		}
		t.Run(fmt.Sprint(filepath.Base(file)), func(t *testing.T) { holds(t, "prove", proof) })
	}
}
