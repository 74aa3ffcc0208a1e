"""The parts of vboxmanage.py, which plays VBoxManage for the fast tests."""
