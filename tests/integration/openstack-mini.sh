#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Keystone, Glance, Placement, Nova (fake hypervisor) and Neutron of Debian 12 on one loopback
# address, for tests of a client. Runs in the root that tests/integration/openstack.py makes, which
# also sets OSM (where the state is), OSM_IP, OSM_FIXED, OSM_FLOAT and OSM_FLOAT_POOL. "seed" makes
# the databases with users and endpoints and ends; "up" starts all on such a state of OSM_SEED_IP.
set -u
OSM=${OSM:-/tmp/osmini}
IP=${OSM_IP:-127.0.0.1}
DBP=${OSM_DB_PORT:-13306}; MQP=${OSM_MQ_PORT:-15672}
KS=${OSM_KEYSTONE_PORT:-5000}; NOVA=${OSM_NOVA_PORT:-8774}; GL=${OSM_GLANCE_PORT:-9292}
NEU=${OSM_NEUTRON_PORT:-9696}; PL=${OSM_PLACEMENT_PORT:-8778}; MD=${OSM_METADATA_PORT:-8775}
PW=secret
E=$OSM/etc; L=$OSM/log; R=$OSM/run
say(){ local n; n=$(( ($(date +%s%N)-T0)/100000000 )); echo "$(date +%T) +$((n/10)).$((n%10))s $*"; }
T0=$(date +%s%N)

db(){ mysql --no-defaults -uroot -S "$R/mysql.sock" "$@"; }
url(){ echo "mysql+pymysql://osmini:$PW@$IP:$DBP/$1?charset=utf8"; }
bg(){ local n=$1; shift; setsid "$@" >>"$L/$n.log" 2>&1 </dev/null & echo $! >"$R/$n.pid"; }
up_http(){ local u=$1 i; for i in $(seq 300); do curl -s -o /dev/null "$u" && return 0; sleep .2; done; echo "no answer: $u" >&2; return 1; }

env_file(){ cat <<X
export OS_AUTH_URL=http://$IP:$KS/v3 OS_USERNAME=admin OS_PASSWORD=$PW OS_PROJECT_NAME=admin
export OS_USER_DOMAIN_ID=default OS_PROJECT_DOMAIN_ID=default OS_REGION_NAME=RegionOne OS_IDENTITY_API_VERSION=3
X
}

configs(){ # and the folders
mkdir -p "$E" "$L" "$R" "$OSM/db" "$OSM/mq" "$OSM/images" "$OSM/lock" "$OSM/plug/dmtest-1.dist-info" "$OSM/nova" "$E/fernet" "$E/credential"
CACHE=false; [ -z "${OSM_SEED_IP:-}" ] || CACHE=true
KAUTH="www_authenticate_uri = http://$IP:$KS
auth_url = http://$IP:$KS
auth_type = password
project_domain_id = default
user_domain_id = default
project_name = service
password = $PW
region_name = RegionOne"
MQ="rabbit://guest:guest@$IP:$MQP/"
cat >"$E/keystone.conf" <<X
[DEFAULT]
log_file = $L/keystone-app.log
[database]
connection = $(url keystone)
[token]
provider = fernet
[fernet_tokens]
key_repository = $E/fernet
[credential]
key_repository = $E/credential
[identity]
# cheap hashing: this is a test cloud
password_hash_algorithm = bcrypt
password_hash_rounds = 4
[cache]
# each process has its own, which is right only while nobody changes users
enabled = $CACHE
backend = oslo_cache.dict
X
cat >"$E/glance-api.conf" <<X
[DEFAULT]
bind_host = $IP
bind_port = $GL
workers = 0
log_file = $L/glance-app.log
enabled_backends = file:file
[database]
connection = $(url glance)
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = $OSM/images
[keystone_authtoken]
$KAUTH
username = glance
[paste_deploy]
flavor = keystone
X
cat >"$E/placement.conf" <<X
[DEFAULT]
log_file = $L/placement-app.log
[placement_database]
connection = $(url placement)
[api]
auth_strategy = keystone
[keystone_authtoken]
$KAUTH
username = placement
X
cat >"$E/nova.conf" <<X
[DEFAULT]
host = node1
my_ip = $IP
state_path = $OSM/nova
log_dir = $L
transport_url = $MQ
compute_driver = fake.FakeDriver
enabled_apis = osapi_compute,metadata
metadata_listen = $IP
metadata_listen_port = $MD
metadata_workers = 1
osapi_compute_listen = $IP
osapi_compute_listen_port = $NOVA
osapi_compute_workers = 1
service_down_time = 600
reserved_host_memory_mb = 0
[workarounds]
disable_rootwrap = true
[api_database]
connection = $(url nova_api)
[database]
connection = $(url nova)
[conductor]
workers = 1
[scheduler]
workers = 1
[api]
auth_strategy = keystone
[keystone_authtoken]
$KAUTH
username = nova
[service_user]
send_service_user_token = false
[glance]
api_servers = http://$IP:$GL
[placement]
$KAUTH
username = placement
[neutron]
$KAUTH
username = neutron
service_metadata_proxy = true
metadata_proxy_shared_secret = $PW
[oslo_concurrency]
lock_path = $OSM/lock
[vnc]
enabled = false
[spice]
enabled = false
X
cat >"$E/neutron.conf" <<X
[DEFAULT]
host = node1
bind_host = $IP
bind_port = $NEU
log_file = $L/neutron-app.log
state_path = $OSM/lock
core_plugin = ml2
service_plugins = router
transport_url = $MQ
api_workers = 0
rpc_workers = 0
rpc_state_report_workers = 0
allow_overlapping_ips = true
dhcp_agent_notification = false
[database]
connection = $(url neutron)
[keystone_authtoken]
$KAUTH
username = neutron
[nova]
$KAUTH
username = nova
[oslo_concurrency]
lock_path = $OSM/lock
X
cat >"$E/ml2.ini" <<X
[ml2]
type_drivers = flat,local
tenant_network_types = local
mechanism_drivers = dmtest
extension_drivers = port_security
[ml2_type_flat]
flat_networks = *
[securitygroup]
enable_security_group = true
X
# an ML2 mechanism driver that binds any port to any host: no agent needed
cat >"$OSM/plug/dmtest.py" <<'X'
from neutron_lib.api.definitions import portbindings
from neutron_lib import constants
from neutron_lib.plugins.ml2 import api
class Bind(api.MechanismDriver):
    def initialize(self):
        pass
    @property
    def connectivity(self):
        return portbindings.CONNECTIVITY_L2
    def bind_port(self, context):
        for segment in context.segments_to_bind:
            context.set_binding(segment[api.ID], portbindings.VIF_TYPE_BRIDGE,
                                {portbindings.CAP_PORT_FILTER: True},
                                status=constants.PORT_STATUS_ACTIVE)
            return
X
printf 'Metadata-Version: 2.1\nName: dmtest\nVersion: 1\n' >"$OSM/plug/dmtest-1.dist-info/METADATA"
printf '[neutron.ml2.mechanism_drivers]\ndmtest = dmtest:Bind\n' >"$OSM/plug/dmtest-1.dist-info/entry_points.txt"
env_file >"$OSM/openrc"
}

mariadb(){
  if [ ! -d "$OSM/db/mysql" ]; then
    mysql_install_db --no-defaults --user=mysql --datadir="$OSM/db" --auth-root-authentication-method=normal --skip-test-db >"$L/db-install.log" 2>&1
  fi
  chown -R mysql "$OSM/db" "$R"
  bg mariadb mariadbd --no-defaults --user=mysql --datadir="$OSM/db" --socket="$R/mysql.sock" --pid-file="$R/mysqld.pid" \
     --bind-address=$IP --port=$DBP --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --sync-binlog=0 --skip-log-bin \
     --innodb-flush-method=nosync --max-connections=500 --character-set-server=utf8mb3
  local i; for i in $(seq 150); do db -e 'select 1' >/dev/null 2>&1 && break; sleep .2; done
}
rabbit(){
  chown -R rabbitmq "$OSM/mq"; install -d -o rabbitmq "$L/mq"
  printf 'listeners.tcp.1 = %s:%s\nloopback_users.guest = true\n' $IP $MQP >"$E/rabbitmq.conf"
  bg rabbit su -s /bin/sh rabbitmq -c "HOME=$OSM/mq RABBITMQ_NODENAME=osmini@localhost RABBITMQ_MNESIA_BASE=$OSM/mq RABBITMQ_LOG_BASE=$L/mq \
     RABBITMQ_CONFIG_FILE=$E/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE=$E/no-plugins ERL_EPMD_ADDRESS=$IP ERL_EPMD_PORT=$((MQP+1)) RABBITMQ_DIST_PORT=25673 \
     RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {$(echo $IP | tr . ,)}' exec /usr/lib/rabbitmq/bin/rabbitmq-server"
}
wait_port(){ local i; for i in $(seq 300); do (exec 3<>/dev/tcp/$IP/$1) 2>/dev/null && return 0; sleep .2; done; return 1; }
wsgi(){ # name port wsgi-file env...
  local n=$1 p=$2 f=$3; shift 3
  bg "$n" env "$@" uwsgi_python3 --http-socket $IP:$p --wsgi-file "$f" --processes 2 --threads 1 --master --die-on-term --buffer-size 65535 --add-header 'Connection: close' --thunder-lock --enable-threads
}

make_databases(){
  local d h
  for d in keystone glance placement nova nova_api nova_cell0 neutron; do db -e "CREATE DATABASE $d CHARACTER SET utf8"; done
  for h in localhost 127.0.0.1; do db -e "CREATE USER osmini@'$h' IDENTIFIED BY '$PW'; GRANT ALL ON *.* TO osmini@'$h'"; done
  ( keystone-manage --config-file "$E/keystone.conf" db_sync &&
    keystone-manage --config-file "$E/keystone.conf" fernet_setup --keystone-user root --keystone-group root &&
    keystone-manage --config-file "$E/keystone.conf" credential_setup --keystone-user root --keystone-group root &&
    keystone-manage --config-file "$E/keystone.conf" bootstrap --bootstrap-password $PW --bootstrap-admin-url http://$IP:$KS/v3/ \
      --bootstrap-internal-url http://$IP:$KS/v3/ --bootstrap-public-url http://$IP:$KS/v3/ --bootstrap-region-id RegionOne &&
    placement-manage --config-file "$E/placement.conf" db sync &&
    glance-manage --config-file "$E/glance-api.conf" db_sync
  ) >"$L/migrate-1.log" 2>&1 & local p1=$!
  ( nova-manage --config-file "$E/nova.conf" api_db sync &&
    nova-manage --config-file "$E/nova.conf" cell_v2 map_cell0 --database_connection "$(url nova_cell0)" &&
    nova-manage --config-file "$E/nova.conf" db sync &&
    nova-manage --config-file "$E/nova.conf" cell_v2 create_cell --name cell1
  ) >"$L/migrate-2.log" 2>&1 & local p2=$!
  neutron-db-manage --config-file "$E/neutron.conf" --config-file "$E/ml2.ini" upgrade heads >"$L/migrate-3.log" 2>&1 & local p3=$!
  wait $p1 && wait $p2 && wait $p3 || { tail -n 5 "$L"/migrate-*.log; return 1; }
}
start_keystone(){ wsgi keystone $KS /usr/bin/keystone-wsgi-public OS_KEYSTONE_CONFIG_FILES="$E/keystone.conf"; }

seed(){
  configs
  mariadb; say "mariadb answers"
  make_databases || return 1; say "databases made"
  start_keystone; up_http http://$IP:$KS/v3 || return 1; say "keystone answers"
  seed_identity || return 1; say "service users and endpoints made"
  mysqladmin --no-defaults -uroot -S "$R/mysql.sock" shutdown
}

up(){
  configs
  rabbit
  mariadb; say "mariadb answers"
  db -e "UPDATE keystone.endpoint SET url = REPLACE(url, '$OSM_SEED_IP', '$IP');
    UPDATE nova_api.cell_mappings SET transport_url = REPLACE(transport_url, '$OSM_SEED_IP', '$IP'),
      database_connection = REPLACE(database_connection, '$OSM_SEED_IP', '$IP');" || return 1
  start_keystone
  wsgi placement $PL /usr/bin/placement-api OS_PLACEMENT_CONFIG_DIR="$E"
  bg neutron env PYTHONPATH="$OSM/plug" neutron-server --config-file "$E/neutron.conf" --config-file "$E/ml2.ini"
  bg glance glance-api --config-file "$E/glance-api.conf"
  wait_port $MQP || { echo "rabbitmq not up"; return 1; }; say "rabbitmq answers"
  bg nova-conductor nova-conductor --config-file "$E/nova.conf"
  bg nova-scheduler nova-scheduler --config-file "$E/nova.conf"
  bg nova-api nova-api --config-file "$E/nova.conf"
  up_http http://$IP:$KS/v3 || return 1; say "keystone answers"
  up_http http://$IP:$PL/ || return 1; say "placement answers"
  bg nova-compute nova-compute --config-file "$E/nova.conf"
  up_http http://$IP:$GL/ || return 1; say "glance answers"
  up_http http://$IP:$NEU/ || return 1; say "neutron answers"
  up_http http://$IP:$NOVA/ || return 1; say "nova-api answers"
  seed_cloud || return 1; say "cloud seeded"
}

# identity and cloud contents are made with one python process over openstacksdk:
# the openstack command costs 2-3 s for each call
seed_identity(){ env_file >"$OSM/openrc"; ( . "$OSM/openrc"; OSM_URLS="compute=http://$IP:$NOVA/v2.1 network=http://$IP:$NEU image=http://$IP:$GL placement=http://$IP:$PL" OSM_PW=$PW python3 - <<'X'
import os, openstack
c=openstack.connect(); i=c.identity
d='default'
svc=i.find_project('service') or i.create_project(name='service',domain_id=d)
admin=i.find_role('admin'); member=i.find_role('member')
for u in ('nova','glance','neutron','placement'):
    x=i.find_user(u) or i.create_user(name=u,domain_id=d,password=os.environ['OSM_PW'],default_project_id=svc.id)
    i.assign_project_role_to_user(svc,x,admin)
demo=i.find_project('demo') or i.create_project(name='demo',domain_id=d)
x=i.find_user('demo') or i.create_user(name='demo',domain_id=d,password=os.environ['OSM_PW'],default_project_id=demo.id)
i.assign_project_role_to_user(demo,x,member)
for kv in os.environ['OSM_URLS'].split():
    t,u=kv.split('=',1); s=i.create_service(name=t,type=t)
    for iface in ('public','internal','admin'): i.create_endpoint(service_id=s.id,interface=iface,region_id='RegionOne',url=u)
X
) ; }
seed_cloud(){ ( . "$OSM/openrc"; OSM_FIXED=${OSM_FIXED:-10.77.0.0/24} OSM_FLOAT=${OSM_FLOAT:-10.78.0.0/24} python3 - <<'X'
import os, time, openstack
c=openstack.connect()
c.compute.create_flavor(name='m1.small',ram=1024,vcpus=1,disk=10,id='1')
c.compute.create_flavor(name='m1.huge',ram=1024,vcpus=1,disk=2000000)  # more than there is
img=c.image.create_image(name='debian-12',disk_format='raw',container_format='bare',data=b'\0'*1024,visibility='public')
net=c.network.create_network(name='private',shared=True)
sub=c.network.create_subnet(network_id=net.id,ip_version=4,cidr=os.environ['OSM_FIXED'],name='private',enable_dhcp=not os.environ['OSM_FIXED'].startswith('127.'))
ext=c.network.create_network(name='public',**{'router:external':True,'provider:network_type':'flat','provider:physical_network':'ext'})
c.network.create_subnet(network_id=ext.id,ip_version=4,cidr=os.environ['OSM_FLOAT'],name='public',enable_dhcp=False,
    allocation_pools=[{'start':a,'end':a} for a in os.environ['OSM_FLOAT_POOL'].split()])
r=c.network.create_router(name='r1',external_gateway_info={'network_id':ext.id}); c.network.add_interface_to_router(r,subnet_id=sub.id)
for _ in range(100):
    h=[s for s in c.compute.services() if s.binary=='nova-compute']
    if h: break
    time.sleep(.3)
X
) && nova-manage --config-file "$E/nova.conf" cell_v2 discover_hosts >>"$L/discover.log" 2>&1; }

"${1:-up}"
