// Test programs on the official Go client, for Bolide's end-to-end tests. README.md in the parent folder has the
// commands and the events; this file picks the command and turns results into exit codes.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// command runs one subcommand; false is exit code 1.
type command func(*run) (bool, error)

var commands = map[string]command{"send": send, "push": push, "pull": pull}

// run is what every command gets.
type run struct {
	options  *options
	events   *events
	namesrv  string
	deadline time.Time
	stateDir string
}

func (r *run) expired() bool { return !time.Now().Before(r.deadline) }

// onLine hands each line of standard input to control. The end of the input is not a command.
func (r *run) onLine(control func(string)) {
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			control(lines.Text())
		}
	}()
}

// stateVariable tells the second start of this process (see keepHomeClean) its folder.
const stateVariable = "BOLIDE_GO_CLIENT_STATE"

func main() { os.Exit(start()) }

func start() int {
	opts, err := parse(os.Args)
	if err == nil {
		err = keepHomeClean(opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	r := &run{options: opts, events: &events{}, stateDir: os.Getenv(stateVariable)}
	if !opts.has("state-dir") {
		defer os.RemoveAll(r.stateDir)
	}
	rlog.SetLogLevel(opts.text("log-level", "warn"))
	r.namesrv = opts.must("namesrv")
	r.deadline = time.Now().Add(time.Duration(opts.number("timeout-s", 60)) * time.Second)
	go watch(r)

	todo, known := commands[opts.command]
	if !known {
		fmt.Fprintln(os.Stderr, "usage: bolide-go-client send|push|pull --namesrv HOST:PORT ...")
		return 2
	}
	good, err := todo(r)
	var mistake *usageError
	switch {
	case errors.As(err, &mistake):
		fmt.Fprintln(os.Stderr, mistake)
		return 2
	case err != nil:
		r.events.failure("error", err, nil)
		return 1
	case !good:
		return 1
	}
	return 0
}

// watch ends the process when a client library blocks past the deadline.
func watch(r *run) {
	time.Sleep(time.Until(r.deadline) + 15*time.Second)
	r.events.emit("error", fields{"class", "Watchdog", "code", -1, "message", "still running 15 s after its deadline"})
	os.RemoveAll(r.stateDir)
	os.Exit(1)
}

// keepHomeClean gives the client a folder for its local offsets. It reads that from the environment while packages are
// initialized, before main, so the process starts itself once more with the variables set.
func keepHomeClean(opts *options) error {
	if os.Getenv(stateVariable) != "" {
		return nil
	}
	dir := opts.text("state-dir", "")
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "bolide-go-client")
	} else {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	env := append(os.Environ(), stateVariable+"="+dir, "HOME="+dir,
		"rocketmq.client.localOffsetStoreDir="+filepath.Join(dir, "offsets"))
	return syscall.Exec(self, os.Args, env)
}
