package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"strings"
	"time"
)

// resolve prints the addresses of a host name, asked of -server ("address:port") when it is given.
func resolve(args []string) error {
	flags := flag.NewFlagSet("resolve", flag.ExitOnError)
	server := flags.String("server", "", "name server to ask instead of the system's")
	within := flags.Duration("within", 10*time.Second, "keep trying for this long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	resolver := net.Resolver{PreferGo: true}
	if *server != "" {
		resolver.Dial = dialer(*server)
	}
	end := time.Now().Add(*within)
	for {
		addresses, err := lookup(&resolver, flags.Arg(0))
		if err == nil {
			fmt.Println(strings.Join(addresses, " "))
			return nil
		}
		if time.Now().After(end) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// dialer makes every question of a resolver go to one server, whatever the system's configuration says.
func dialer(server string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dial net.Dialer
		return dial.DialContext(ctx, network, server)
	}
}

func lookup(resolver *net.Resolver, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return resolver.LookupHost(ctx, name)
}
