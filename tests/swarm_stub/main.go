// What a test puts in the place of Swarm's last program: it prints its arguments, asks the engines
// what that one asks, over TLS with the pair of the host, and answers docker clients with what it found.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

func option(name string) string {
	for number, word := range os.Args {
		if strings.HasPrefix(word, name+"=") {
			return word[len(name)+1:]
		}
		if word == name {
			return os.Args[number+1]
		}
	}
	return ""
}

func settings() *tls.Config {
	pair, err := tls.LoadX509KeyPair(option("--tlscert"), option("--tlskey"))
	if err != nil {
		log.Fatal(err)
	}
	text, err := os.ReadFile(option("--tlscacert"))
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
}

func ask(client *http.Client, url string) (answer map[string]interface{}, err error) {
	response, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != 200 {
		return nil, fmt.Errorf("%s", body)
	}
	return answer, json.Unmarshal(body, &answer)
}

func manage() {
	config := settings()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 10 * time.Second}
	discovery := os.Args[len(os.Args)-1]
	answer := func(writer http.ResponseWriter, request *http.Request) {
		path := request.URL.Path
		if strings.HasSuffix(path, "/_ping") {
			writer.Header().Set("Api-Version", "1.40")
			fmt.Fprint(writer, "OK")
		} else if strings.HasSuffix(path, "/version") {
			fmt.Fprint(writer, `{"Version": "swarm/1.2.9", "ApiVersion": "1.40"}`)
		} else if strings.HasSuffix(path, "/info") {
			rows := [][2]string{}
			for _, node := range strings.Split(strings.TrimPrefix(discovery, "nodes://"), ",") {
				info, err := ask(client, "https://"+node+"/info")
				if err == nil {
					_, err = ask(client, "https://"+node+"/v1.40/info")
				}
				words := "Pending"
				if err == nil {
					words = fmt.Sprintf("Healthy %v", info["Name"])
				} else {
					log.Print(err)
				}
				rows = append(rows, [2]string{node, words})
			}
			json.NewEncoder(writer).Encode(map[string]interface{}{
				"Name": "swarm", "ServerVersion": "swarm/1.2.9", "SystemStatus": rows})
		} else {
			http.NotFound(writer, request)
		}
	}
	place := strings.TrimPrefix(option("-H"), "tcp://")
	server := &http.Server{Addr: place, TLSConfig: config, Handler: http.HandlerFunc(answer)}
	log.Fatal(server.ListenAndServeTLS("", ""))
}

func main() {
	fmt.Println(strings.Join(os.Args[1:], " "))
	for _, word := range os.Args {
		if word == "manage" {
			manage()
		}
	}
	select {}
}
