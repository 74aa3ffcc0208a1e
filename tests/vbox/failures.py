"""What VirtualBox said to others when it failed, for VirtualBox.fail(); with the VM or NIC as values."""


def _console_error(*lines):
    return "".join("VBoxManage: error: %s\n" % line for line in lines) + (
        "VBoxManage: error: Details: code NS_ERROR_FAILURE (0x80004005), component ConsoleWrap, "
        "interface IConsole\n")


FAILURES = {
    "no-vtx": _console_error("VT-x is not available (VERR_VMX_NO_VMX)"),
    "vtx-disabled": _console_error("VT-x is disabled in the BIOS for all CPU modes (VERR_VMX_MSR_ALL_VMX_DISABLED)"),
    "kvm": _console_error(
        "VT-x is being used by another hypervisor (VERR_VMX_IN_VMX_ROOT_MODE).",
        "VirtualBox can't operate in VMX root mode. Please disable the KVM kernel extension, recompile your kernel "
        "and reboot (VERR_VMX_IN_VMX_ROOT_MODE)"),
    "hyper-v": _console_error(
        "Call to WHvSetupPartition failed: ERROR_SUCCESS (Last=0xc000000d/87) (VERR_NEM_VM_CREATE_FAILED)"),
    "no-driver": "VBoxManage: error: The virtual machine '%(name)s' has terminated unexpectedly during startup with "
                 "exit code 1 (0x1)\nVBoxManage: error: Details: code NS_ERROR_FAILURE (0x80004005), component "
                 "MachineWrap, interface IMachine\n",
    "no-interface": _console_error(
        "Nonexistent host networking interface, name '%(adapter)s' (VERR_INTERNAL_ERROR)"),
    "no-filter": _console_error(
        "Failed to open/create the internal network 'HostInterfaceNetworking-vboxnet0' "
        "(VERR_INTNET_FLT_IF_NOT_FOUND).",
        "Failed to attach the network LUN (VERR_INTNET_FLT_IF_NOT_FOUND)"),
    "no-adapters": _console_error(
        "Host-only adapters are no longer supported!",
        "For your convenience a host-only network named 'Legacy %(adapter)s Network' has been created with network "
        "mask '255.255.255.0' and IP address range '192.168.56.1' - '192.168.56.254'.",
        "To fix this problem, switch to 'Host-only Network' attachment type in the VM settings.",
        " (VERR_NOT_FOUND)"),
    "port-in-use": _console_error(
        "NAT#0: configuration error: failed to set up redirection of 42022 to 22. Probably a conflict with existing "
        "services or other rules (VERR_NAT_REDIR_SETUP).",
        "Failed to attach the network LUN (VERR_NAT_REDIR_SETUP)"),
    "not-ready":
        "VBoxManage: error: The object is not ready\n"
        "VBoxManage: error: Details: code E_ACCESSDENIED (0x80070005), component SessionMachine, interface IMachine, "
        "callee nsISupports\n"
        'VBoxManage: error: Context: "COMGETTER(BandwidthControl)(bwCtrl.asOutParam())" at line 2322 of file '
        "VBoxManageInfo.cpp\n",
    "limited":
        "VBoxManage: error: The object functionality is limited\n"
        "VBoxManage: error: Details: code E_ACCESSDENIED (0x80070005), component MachineWrap, interface IMachine, "
        "callee nsISupports\n"
        'VBoxManage: error: Context: "LockMachine(a->session, LockType_Shared)" at line 3328 of file '
        "VBoxManageInfo.cpp\n",
    "locked":
        "VBoxManage: error: The machine 'web' is already locked for a session (or being unlocked)\n"
        "VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap, interface "
        "IMachine, callee nsISupports\n"
        'VBoxManage: error: Context: "LockMachine(a->session, LockType_Write)" at line 640 of file '
        "VBoxManageModifyVM.cpp\n",
    "no-service":
        "VBoxManage: error: Failed to create the VirtualBox object!\n"
        "VBoxManage: error: Code NS_ERROR_SOCKET_FAIL (0xC1F30200) - IPC daemon socket error (extended info not "
        "available)\n"
        "VBoxManage: error: Most likely, the VirtualBox COM server is not running or failed to start.\n",
    "no-vboxnetctl":
        "0%...NS_ERROR_FAILURE\n"
        "VBoxManage: error: Failed to create the host-only adapter\n"
        "VBoxManage: error: VBoxNetAdpCtl: Error while adding new interface: failed to open /dev/vboxnetctl: No such "
        "file or directory\n"
        "VBoxManage: error: Details: code NS_ERROR_FAILURE (0x80004005), component HostNetworkInterfaceWrap, "
        "interface IHostNetworkInterface\n"
        'VBoxManage: error: Context: "RTEXITCODE handleCreate(HandlerArg*)" at line 105 of file '
        "VBoxManageHostonly.cpp\n",
}
