// SPDX-License-Identifier: Apache-2.0

// The client library that Debian has, whose ancestor Docker Machine used, asks a Cloud Director for a vApp's whole
// life: URL, token, id of the virtual data center, of the vApp template, and id and name of the network.
package main

import (
	"encoding/xml"
	"fmt"
	"io/ioutil"
	"net/url"
	"os"

	"github.com/hmrc/vmware-govcd"
	types "github.com/hmrc/vmware-govcd/types/v56"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func address(text string) url.URL {
	parsed, err := url.Parse(text)
	check(err)
	return *parsed
}

func main() {
	server, token, vdc, template, network, name := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]
	client := &govcd.Client{APIVersion: "38.1", VCDAuthHeader: "Authorization", VCDToken: "Bearer " + token}
	client.VCDVDCHREF = address(server + "/api/vdc/" + vdc)

	source := govcd.NewVAppTemplate(client)
	request := client.NewRequest(nil, "GET", address(server+"/api/vAppTemplate/vappTemplate-"+template), nil)
	answer, err := client.Http.Do(request)
	check(err)
	text, err := ioutil.ReadAll(answer.Body)
	check(err)
	check(xml.Unmarshal(text, source.VAppTemplate))

	lan := govcd.NewOrgVDCNetwork(client)
	lan.OrgVDCNetwork = &types.OrgVDCNetwork{HREF: server + "/api/admin/network/" + network, Name: name}

	vapp := govcd.NewVApp(client)
	task, err := vapp.ComposeVApp(*lan, *source, "theirs", "of the library")
	check(err)
	check(task.WaitTaskCompletion())
	status, err := vapp.GetStatus()
	check(err)
	card := vapp.VApp.Children.VM[0].NetworkConnectionSection.NetworkConnection
	fmt.Println(vapp.VApp.Name, vapp.VApp.ID, status, card.IPAddress, card.IPAddressAllocationMode)
	task, err = vapp.SetOvf(map[string]string{"user-data": "theirs"})
	check(err)
	check(task.WaitTaskCompletion())
	task, err = vapp.RunCustomizationScript("theirs", "#!/bin/sh")
	check(err)
	check(task.WaitTaskCompletion())
	for _, turn := range []func() (govcd.Task, error){
		vapp.PowerOn, vapp.Reboot, vapp.Reset, vapp.Shutdown, vapp.PowerOn, vapp.PowerOff, vapp.Undeploy, vapp.Delete} {
		task, err := turn()
		check(err)
		check(task.WaitTaskCompletion())
		status, err := vapp.GetStatus()
		fmt.Println(status, err != nil)
	}
}
