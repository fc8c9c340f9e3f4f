// Command probe is the one program in the test cluster's own images. It owns no state besides the files
// below -data. Called as "pause" it is the process that keeps a pod's namespaces; as "probe" it is a small
// HTTP server and client, enough to show that volumes, Services, cluster DNS, exec and logs work.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxValueBytes bounds a stored value and a printed answer.
const maxValueBytes = 1 << 20

// clusterAuthority is where a pod finds the certificate that signed the API server's.
const clusterAuthority = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

func main() {
	log.SetFlags(0)
	if filepath.Base(os.Args[0]) == "pause" {
		pause()
		return
	}
	if len(os.Args) < 2 {
		log.Fatal("usage: probe serve|get|put|resolve ...")
	}
	var err error
	switch command, args := os.Args[1], os.Args[2:]; command {
	case "serve":
		err = serve(args)
	case "get":
		err = request(http.MethodGet, args)
	case "put":
		err = request(http.MethodPut, args)
	case "resolve":
		err = resolve(args)
	default:
		err = fmt.Errorf("%s: no such command", command)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// pause waits for the end of the pod and collects processes that were handed to it as the first process.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err != nil || pid <= 0 {
				break
			}
		}
	}
}

// serve answers GET / with the host's name, and GET and PUT /values/NAME with files below -data.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	listen := flags.String("listen", ":8080", "address and port")
	data := flags.String("data", "/data", "folder of the values")
	if err := flags.Parse(args); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, host)
	})
	mux.HandleFunc("GET /values/{name}", func(answer http.ResponseWriter, request *http.Request) {
		value, err := os.ReadFile(filepath.Join(*data, filepath.Base(request.PathValue("name"))))
		if err != nil {
			http.Error(answer, err.Error(), http.StatusNotFound)
			return
		}
		answer.Write(value)
	})
	mux.HandleFunc("PUT /values/{name}", func(answer http.ResponseWriter, request *http.Request) {
		value, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, maxValueBytes))
		if err == nil {
			err = writeDurably(filepath.Join(*data, filepath.Base(request.PathValue("name"))), value)
		}
		if err != nil {
			http.Error(answer, err.Error(), http.StatusInternalServerError)
			return
		}
		log.Printf("stored %s", request.PathValue("name"))
	})
	log.Printf("%s listens on %s", host, *listen)
	server := http.Server{Addr: *listen, Handler: mux, ReadTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

func writeDurably(path string, value []byte) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(value); err != nil {
		return err
	}
	return file.Sync()
}

// request sends one request, again until it is answered with 200 or -within is over, and prints the body.
func request(method string, args []string) error {
	flags := flag.NewFlagSet(method, flag.ExitOnError)
	within := flags.Duration("within", 10*time.Second, "keep trying for this long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authorities()},
	}}
	end := time.Now().Add(*within)
	for {
		answer, err := once(&client, method, flags.Arg(0), flags.Arg(1))
		if err == nil {
			fmt.Print(answer)
			return nil
		}
		if time.Now().After(end) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// authorities are the system's and, in a pod, the cluster's own.
func authorities() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if certificate, err := os.ReadFile(clusterAuthority); err == nil {
		pool.AppendCertsFromPEM(certificate)
	}
	return pool
}

func once(client *http.Client, method, url, value string) (string, error) {
	question, err := http.NewRequest(method, url, strings.NewReader(value))
	if err != nil {
		return "", err
	}
	answer, err := client.Do(question)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxValueBytes))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, answer.Status, body)
	}
	return string(body), err
}
