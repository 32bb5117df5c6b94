// Command otel is a service whose counts are OpenTelemetry's, here printed.
package main

import (
	"context"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/seed329817d7/contain/app"
	_ "github.com/seed329817d7/contain/app/examples/internal/drill" // for the tests
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exporter, err := stdoutmetric.New()
	if err != nil {
		log.Fatal(err)
	}
	provider := sdk.NewMeterProvider(sdk.WithReader(sdk.NewPeriodicReader(exporter, sdk.WithInterval(time.Minute))))
	defer provider.Shutdown(context.WithoutCancel(ctx)) // after Close, so that it has the last counts
	c, err := app.Install(ctx, app.Config{Strategy: os.Getenv("STRATEGY")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	if err := observe(provider.Meter("contain"), c.Stats); err != nil {
		log.Panic(err)
	}
	cmd := exec.CommandContext(ctx, os.Getenv("SERVER"), "wait")
	if _, err := c.Start(cmd); err != nil {
		log.Panic(err)
	}
	_ = cmd.Wait()
}

func observe(m metric.Meter, stats func() app.Stats) error {
	started, err := m.Int64ObservableCounter("contain.backends.started")
	if err != nil {
		return err
	}
	leftovers, err := m.Int64ObservableCounter("contain.leftovers.ended", metric.WithUnit("{process}"))
	if err != nil {
		return err
	}
	_, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(started, int64(stats().Started))
		o.ObserveInt64(leftovers, int64(stats().Leftovers))
		return nil
	}, started, leftovers)
	return err
}
