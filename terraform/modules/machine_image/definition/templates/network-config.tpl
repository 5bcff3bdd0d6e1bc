version: 2
ethernets:
  eth0:
    dhcp4: true
