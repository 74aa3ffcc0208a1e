// SPDX-License-Identifier: Apache-2.0

// A plugin as those of Docker Machine, on Go's own net/rpc and encoding/gob, for the tests of
// extras/go_plugin.py. Its machines are containers of this computer's Docker, or, without an image, nothing but a
// file with their state. PLUGIN_FAULT makes it misbehave: WHAT, or WHAT:METHOD.
package main

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

type StringFlag struct{ Name, Usage, EnvVar, Value string }
type IntFlag struct {
	Name, Usage, EnvVar string
	Value               int
}
type BoolFlag struct{ Name, Usage, EnvVar string }
type StringSliceFlag struct {
	Name, Usage, EnvVar string
	Value               []string
}
type RPCFlags struct{ Values map[string]interface{} }

type Nothing struct{}

const running, paused, stopped, failed = 1, 2, 4, 7

// Config is what is stored of a machine.
type Config struct {
	IPAddress      string
	MachineName    string
	SSHUser        string
	SSHPort        int
	SSHKeyPath     string
	StorePath      string
	SwarmMaster    bool
	SwarmHost      string
	SwarmDiscovery string
	Image          string
	Options        []string
	Container      string
	TestToken      string
	TestPassword   string
	Ports          int
	Ratio          float64
	Big            int64
	Odd            map[string]interface{}
	Log            []string
}

type Plugin struct {
	config  Config
	asked   bool // by flags, which is not stored: the same process has to make the machine
	hearing chan bool
}

var (
	fault, method, _ = strings.Cut(os.Getenv("PLUGIN_FAULT"), ":")
	name             = os.Getenv("MACHINE_PLUGIN_DRIVER_NAME")
)

func at(called string) error {
	if method != called {
		return nil
	}
	switch fault {
	case "error":
		return errors.New("the cloud says no to " + called + "\x1b[31m")
	case "exit":
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(3)
	case "hang":
		time.Sleep(time.Hour)
	case "panic":
		return errors.New("Panic in the driver: index out of range\ngoroutine 7 [running]:\nmain.go:1")
	}
	return nil
}

func (p *Plugin) note(text string) { p.config.Log = append(p.config.Log, text) }

func (p *Plugin) folder(name string) string {
	return filepath.Join(p.config.StorePath, "machines", p.config.MachineName, name)
}

func docker(words ...string) (string, error) {
	command := exec.Command("docker", append([]string{"-H", "unix:///var/run/docker.sock"}, words...)...)
	command.Stderr = os.Stderr
	printed, err := command.Output()
	if err != nil {
		err = fmt.Errorf("docker %s: %v", words[0], err)
	}
	return strings.TrimSpace(string(printed)), err
}

func (p *Plugin) GetVersion(_ *Nothing, reply *int) error {
	*reply = 1
	if fault == "version" {
		*reply = 2
	}
	return at("GetVersion")
}

func (p *Plugin) SetConfigRaw(data []byte, _ *Nothing) error { return json.Unmarshal(data, &p.config) }

func (p *Plugin) GetConfigRaw(_ *Nothing, reply *[]byte) (err error) {
	if err = at("GetConfigRaw"); err == nil {
		*reply, err = json.Marshal(p.config)
		if path := os.Getenv("PLUGIN_TOLD"); path != "" {
			os.WriteFile(path, *reply, 0o600)
		}
	}
	return err
}

func (p *Plugin) GetCreateFlags(_ *Nothing, reply *[]interface{}) error {
	*reply = []interface{}{
		&StringFlag{Name: "test-image", Usage: "Image of the containers", EnvVar: "TEST_IMAGE"},
		&StringFlag{Name: "test-token", Usage: "A token", EnvVar: "TEST_TOKEN"},
		&StringFlag{Name: "test-password", Usage: "A password", Value: "the-usual-password"},
		&StringFlag{Name: "test-user", Usage: "Login", Value: "root"},
		&IntFlag{Name: "test-ports", Usage: "A number", EnvVar: "TEST_PORTS", Value: -300},
		&BoolFlag{Name: "test-fast", Usage: "Be fast"},
		&StringSliceFlag{Name: "test-option", Usage: "Options of docker create", Value: []string{}},
	}
	return at("GetCreateFlags")
}

func (p *Plugin) SetConfigFromFlags(flags *interface{}, _ *Nothing) error {
	values := (*flags).(*RPCFlags).Values
	p.config.Image = values["test-image"].(string)
	p.config.SSHUser = values["test-user"].(string)
	p.config.TestToken = values["test-token"].(string)
	p.config.TestPassword = values["test-password"].(string)
	p.config.Odd = map[string]interface{}{"<&>": "\u2028é\"\\", "deep": []interface{}{nil, 0.25, []int{}, true},
		"none": map[string]string{}}
	p.config.Big, p.asked = 1<<62+1, true
	p.config.Ports = values["test-ports"].(int)
	p.config.SwarmMaster = values["swarm-master"].(bool)
	p.config.SwarmHost = values["swarm-host"].(string)
	p.config.Options, _ = values["test-option"].([]string)
	p.config.Container = fmt.Sprintf("%s-%d", p.config.MachineName, time.Now().UnixNano())
	if values["driver"].(string) != name || values["test-fast"].(bool) {
		p.config.Ratio = 1e-7
	}
	return at("SetConfigFromFlags")
}

func (p *Plugin) DriverName(_ *Nothing, reply *string) error { *reply = name; return at("DriverName") }

func (p *Plugin) GetMachineName(_ *Nothing, reply *string) error {
	*reply = p.config.MachineName
	return at("GetMachineName")
}

func (p *Plugin) GetIP(_ *Nothing, reply *string) error {
	*reply = p.config.IPAddress
	if p.config.IPAddress == "" {
		return errors.New("IP address is not set")
	}
	return at("GetIP")
}

func (p *Plugin) GetSSHHostname(n *Nothing, reply *string) error { return p.GetIP(n, reply) }

func (p *Plugin) GetSSHKeyPath(_ *Nothing, reply *string) error {
	*reply = p.folder("id_rsa")
	return at("GetSSHKeyPath")
}

func (p *Plugin) GetSSHPort(_ *Nothing, reply *int) error { *reply = 22; return at("GetSSHPort") }

func (p *Plugin) GetSSHUsername(_ *Nothing, reply *string) error {
	*reply = p.config.SSHUser
	return at("GetSSHUsername")
}

func (p *Plugin) GetURL(n *Nothing, reply *string) error {
	var state int
	if err := p.GetState(n, &state); err != nil {
		return err
	}
	if state != running {
		return errors.New("Host is not running")
	}
	*reply = "tcp://" + p.config.IPAddress + ":2376"
	return at("GetURL")
}

func (p *Plugin) GetState(_ *Nothing, reply *int) error {
	states := map[string]int{"running": running, "paused": paused, "created": stopped, "exited": stopped}
	state, err := "", error(nil)
	if p.config.Image != "" {
		state, err = docker("inspect", "--format", "{{.State.Status}}", p.config.Container)
	} else {
		data, failure := os.ReadFile(p.folder("state"))
		state, err = string(data), failure
	}
	if *reply = states[state]; *reply == 0 {
		*reply = failed
	}
	if err != nil {
		return err
	}
	return at("GetState")
}

func (p *Plugin) turn(called, verb, state string) error {
	if err := at(called); err != nil {
		p.note(called + " failed")
		return err
	}
	p.note(called)
	if fault == "late" {
		time.Sleep(13 * time.Second)
	}
	if p.config.Image == "" {
		return os.WriteFile(p.folder("state"), []byte(state), 0o600)
	}
	if _, err := docker(verb, p.config.Container); err != nil {
		return err
	}
	if state != "running" {
		return nil
	}
	address, err := docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
		p.config.Container)
	p.config.IPAddress = address
	return err
}

func (p *Plugin) PreCreateCheck(_ *Nothing, _ *Nothing) error { return at("PreCreateCheck") }

func (p *Plugin) Create(_ *Nothing, _ *Nothing) error {
	fmt.Printf("Creating the container %s...\n", p.config.Container)
	if fault == "log" {
		for i := 0; i < 40000; i++ {
			fmt.Fprintln(os.Stderr, strings.Repeat("much to tell ", 8))
		}
		fmt.Println(strings.Repeat("x", 1<<20))
		fmt.Println("and so on")
	}
	if err := at("Create"); err != nil {
		p.note("Create failed")
		return err
	}
	if !p.asked {
		p.note("without its flags")
	}
	if p.config.Image == "" {
		p.config.IPAddress = "127.0.0.1"
		return p.turn("", "", "running")
	}
	key, host := p.folder("id_rsa"), p.folder("host_key")
	for _, file := range []string{key, host} {
		os.Remove(file)
		if err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).Run(); err != nil {
			return err
		}
	}
	words := append([]string{"create", "--name", p.config.Container, "--hostname", p.config.MachineName},
		p.config.Options...)
	if _, err := docker(append(words, p.config.Image)...); err != nil {
		return err
	}
	if _, err := docker("cp", host, p.config.Container+":/etc/ssh/ssh_host_ed25519_key"); err != nil {
		return err
	}
	if err := p.turn("", "start", "running"); err != nil {
		return err
	}
	public, err := os.ReadFile(key + ".pub")
	if err == nil {
		line := "mkdir -p -m 700 /root/.ssh && echo '" + strings.TrimSpace(string(public)) +
			"' > /root/.ssh/authorized_keys"
		_, err = docker("exec", p.config.Container, "sh", "-c", line)
	}
	if err == nil {
		err = at("CreateEnd")
	}
	return err
}

func (p *Plugin) Start(_ *Nothing, _ *Nothing) error { return p.turn("Start", "start", "running") }
func (p *Plugin) Stop(_ *Nothing, _ *Nothing) error  { return p.turn("Stop", "stop", "exited") }
func (p *Plugin) Kill(_ *Nothing, _ *Nothing) error  { return p.turn("Kill", "kill", "exited") }
func (p *Plugin) Restart(_ *Nothing, _ *Nothing) error {
	return p.turn("Restart", "restart", "running")
}

func (p *Plugin) Remove(_ *Nothing, _ *Nothing) error {
	if err := at("Remove"); err != nil || p.config.Image == "" {
		return err
	}
	_, err := docker("rm", "--force", "--volumes", p.config.Container)
	return err
}

func (p *Plugin) Heartbeat(_ *Nothing, _ *Nothing) error {
	p.hearing <- true
	if fault == "late" {
		time.Sleep(12 * time.Second)
	}
	return nil
}

func (p *Plugin) Close(_ *Nothing, _ *Nothing) error {
	if fault == "stays" {
		return nil
	}
	os.Exit(0)
	return nil
}

func (p *Plugin) watch() {
	for {
		select {
		case <-p.hearing:
		case <-time.After(10 * time.Second):
			if fault != "stays" {
				os.Exit(1)
			}
		}
	}
}

func main() {
	if os.Getenv("MACHINE_PLUGIN_TOKEN") != "42" {
		fmt.Fprintln(os.Stderr, "This is a Docker Machine plugin binary.\n(API version: 1)")
		os.Exit(1)
	}
	gob.RegisterName("*mcnflag.StringFlag", &StringFlag{})
	gob.RegisterName("*mcnflag.IntFlag", &IntFlag{})
	gob.RegisterName("*mcnflag.BoolFlag", &BoolFlag{})
	gob.RegisterName("*mcnflag.StringSliceFlag", &StringSliceFlag{})
	gob.RegisterName("*rpcdriver.RPCFlags", &RPCFlags{})
	gob.Register([]string{})
	switch fault {
	case "ends":
		fmt.Fprintln(os.Stderr, "no licence")
		os.Exit(1)
	case "silent":
		time.Sleep(time.Hour)
	case "wrong":
		fmt.Println("hello, 192.0.2.1:80")
		time.Sleep(time.Hour)
	case "slow":
		time.Sleep(10 * time.Second)
	case "nobody":
		fmt.Println("127.0.0.1:1")
		time.Sleep(time.Hour)
	}
	service := "RPCServerDriver"
	if fault == "old" {
		service = "RpcServerDriver"
	}
	plugin := &Plugin{hearing: make(chan bool)}
	if err := rpc.RegisterName(service, plugin); err != nil {
		panic(err)
	}
	rpc.HandleHTTP()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	go plugin.watch()
	panic(http.Serve(listener, nil))
}
