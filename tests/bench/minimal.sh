#!/bin/sh
# The least that makes a host with an engine answer docker over TLS: what bench_create.py measures
# `create` against. Usage: minimal.sh ADDRESS KEY FOLDER
set -e
address=$1 key=$2
mkdir -p "$3"
cd "$3"
exec 2>log

openssl genrsa -out ca-key.pem 2048
openssl req -x509 -new -key ca-key.pem -subj /O=me -days 1080 -out ca.pem
openssl req -new -newkey rsa:2048 -nodes -keyout key.pem -subj /O=client -out client.csr
echo 'extendedKeyUsage=clientAuth' >client.ext
openssl x509 -req -in client.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 1080 \
    -extfile client.ext -out cert.pem
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server-key.pem \
    -subj /O=server -out server.csr
printf 'extendedKeyUsage=serverAuth\nsubjectAltName=IP:%s\n' "$address" >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 1080 \
    -extfile server.ext -out server.pem

tar -cf - ca.pem server.pem server-key.pem | ssh -i "$key" -o StrictHostKeyChecking=accept-new \
    -o UserKnownHostsFile=known_hosts root@"$address" '
        mkdir -p /etc/docker /etc/systemd/system/docker.service.d
        tar -xf - -C /etc/docker
        cat >/etc/systemd/system/docker.service.d/10-machine.conf <<END
[Service]
ExecStart=
ExecStart=/usr/sbin/dockerd -H tcp://0.0.0.0:2376 -H fd:// --tlsverify \
    --containerd=/run/containerd/containerd.sock --tlscacert=/etc/docker/ca.pem \
    --tlscert=/etc/docker/server.pem --tlskey=/etc/docker/server-key.pem
END
        systemctl daemon-reload
        systemctl restart docker'

until curl --silent --noproxy '*' --cacert ca.pem --cert cert.pem --key key.pem \
    --output version.json "https://$address:2376/version"; do
    sleep 0.1
done
