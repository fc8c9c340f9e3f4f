package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
)

// usageError is a mistake on the command line: exit code 2.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// options is the command line: "--name value", repeatable, and "--name" alone for a switch.
type options struct {
	command string
	values  map[string][]string
	read    map[string]bool
}

func parse(argv []string) (*options, error) {
	o := &options{values: map[string][]string{}, read: map[string]bool{}}
	if len(argv) > 1 {
		o.command = argv[1]
	}
	for i := 2; i < len(argv); i++ {
		name, isOption := strings.CutPrefix(argv[i], "--")
		if !isOption {
			return nil, &usageError{"expected an option, found: " + argv[i]}
		}
		value := "true"
		if i+1 < len(argv) && !strings.HasPrefix(argv[i+1], "--") {
			i++
			value = argv[i]
		}
		o.values[name] = append(o.values[name], value)
	}
	return o, nil
}

func (o *options) all(name string) []string {
	o.read[name] = true
	return o.values[name]
}

func (o *options) has(name string) bool { return len(o.all(name)) > 0 }

func (o *options) text(name, otherwise string) string {
	if list := o.all(name); len(list) > 0 {
		return list[len(list)-1]
	}
	return otherwise
}

func (o *options) must(name string) string {
	if !o.has(name) {
		o.die("--" + name + " is required")
	}
	return o.text(name, "")
}

func (o *options) number(name string, otherwise int64) int64 {
	if !o.has(name) {
		return otherwise
	}
	value, err := strconv.ParseInt(o.text(name, ""), 10, 64)
	if err != nil {
		o.die("--" + name + " must be a whole number, not " + o.text(name, ""))
	}
	return value
}

func (o *options) flag(name string) bool { return o.text(name, "false") == "true" }

func (o *options) choice(name string, allowed ...string) string {
	value := o.text(name, allowed[0])
	for _, one := range allowed {
		if one == value {
			return value
		}
	}
	o.die(fmt.Sprintf("--%s must be one of %s, not %s", name, strings.Join(allowed, ", "), value))
	return ""
}

// refuseUnknown is called when a command has read all it knows, before it acts.
func (o *options) refuseUnknown() error {
	var unknown []string
	for name := range o.values {
		if !o.read[name] {
			unknown = append(unknown, "--"+name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	sort.Strings(unknown)
	return &usageError{"unknown option " + strings.Join(unknown, ", ")}
}

func (o *options) die(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(2)
}
