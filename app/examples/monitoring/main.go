// Command monitoring is a service with a page of its state, /healthz, and its counts for
// Prometheus, /metrics.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed329817d7/contain/app"
	_ "github.com/seed329817d7/contain/app/examples/internal/drill" // for the tests
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := app.Install(ctx, app.Config{Strategy: os.Getenv("STRATEGY")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(ctx, os.Getenv("SERVER"), "wait")
	if _, err := c.Start(cmd, app.Label("server")); err != nil {
		log.Panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Panic(err)
	}
	fmt.Println("listening on", listener.Addr())
	count("contain_backends_started_total", func() uint64 { return c.Stats().Started })
	count("contain_leftovers_ended_total", func() uint64 { return c.Stats().Leftovers })
	count("contain_forced_total", func() uint64 { return c.Stats().Forced })
	http.Handle("/metrics", promhttp.Handler())
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		page := map[string]any{"containment": c.Status(), "backends": []app.BackendStatus{}}
		for _, b := range c.Backends() {
			page["backends"] = append(page["backends"].([]app.BackendStatus), b.Status())
		}
		_ = json.NewEncoder(w).Encode(page)
	})
	go http.Serve(listener, nil)
	_ = cmd.Wait()
}

func count(name string, value func() uint64) {
	prometheus.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name}, func() float64 { return float64(value()) }))
}
