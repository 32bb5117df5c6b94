package registry_test

import (
	"context"
	"fmt"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// A requirement is a minimum: the kernel satisfies supervisor, and tree
// satisfies child.
func ExampleParseRequirement() {
	r, err := registry.ParseRequirement("owner-killed=tree")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.SatisfiedBy(registry.Guarantee{
		Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel,
	}))
	_, err = registry.ParseRequirement("owner-killed=forest")
	fmt.Println(err)
	// Output:
	// true
	// requirement "owner-killed=forest": unknown reach "forest"; want EVENT=REACH[/ENFORCER] with EVENT owner-killed, both-killed, supervisor-killed, leader-exit, owner-exit, REACH child or tree, ENFORCER kernel or supervisor
}

// Resolve takes the strongest strategy that works here and says why not a
// stronger one.
func ExampleRegistry_Resolve() {
	guarantees := func(text ...string) (gs []registry.Guarantee) {
		for _, t := range text {
			r, _ := registry.ParseRequirement(t)
			gs = append(gs, registry.Guarantee{Event: r.Event, Reach: r.Reach, Enforcer: r.Enforcer, Within: 1})
		}
		return gs
	}
	var r registry.Registry
	r.MustRegister(&registrytest.Fake{Name: "any/weak", Description: registry.Description{Guarantees: guarantees("owner-killed=child/kernel")}})
	r.MustRegister(&registrytest.Fake{Name: "any/good", Description: registry.Description{Guarantees: guarantees("owner-killed=tree/supervisor")}})
	r.MustRegister(&registrytest.Fake{Name: "any/best", Description: registry.Description{Guarantees: guarantees("owner-killed=tree/kernel"), OptIn: true}})

	res, err := r.Resolve(context.Background(), registry.CurrentPlatform(), registry.Wanted{})
	fmt.Println(res.Description.Name, res.Skipped, err)

	required, _ := registry.ParseRequirement("owner-killed=tree/kernel")
	res, err = r.Resolve(context.Background(), registry.CurrentPlatform(), registry.Wanted{Require: []registry.Requirement{required}})
	fmt.Println(res.Description.Name, err)
	// Output:
	// any/good [any/best: opt-in: has side effects on the backend; name it or require what only it gives] <nil>
	// any/best <nil>
}

// The target is answerable for every platform on every platform.
func ExampleRegistry_Target() {
	r := registrytest.Registry(&registrytest.Fake{
		Name:        "windows/job",
		Description: registry.Description{Platform: registry.PlatformWindows, Target: registry.CleanupWindowsKillOnJobClose},
	})
	fmt.Println(r.Target(registry.PlatformWindows))
	fmt.Println(r.Target(registry.PlatformLinux))
	// Output:
	// windows-kill-on-job-close
	// unsupported-noop
}
