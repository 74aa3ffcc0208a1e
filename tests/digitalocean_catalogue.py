"""What the test bed's DigitalOcean sells: regions, sizes and images, in the API's own form.

Slugs and figures look like the provider's; what a test needs of them is said beside the row.
"""

import copy

FEATURES = ["backups", "ipv6", "metadata", "install_agent", "storage", "image_transfer"]

REGIONS = [
    ("nyc3", "New York 3", True),
    ("sfo3", "San Francisco 3", True),
    ("ams3", "Amsterdam 3", True),
    ("fra1", "Frankfurt 1", True),
    ("tor1", "Toronto 1", True),
    ("nyc2", "New York 2", False),  # closed to new droplets
]
EVERYWHERE = ["nyc3", "sfo3", "ams3", "fra1", "tor1"]

SIZES = [  # slug, memory (MiB), CPUs, disk (GiB), transfer (TiB), dollars a month, regions
    ("s-1vcpu-512mb-10gb", 512, 1, 10, 0.5, 4.0, ["nyc3", "ams3", "fra1"]),
    ("s-1vcpu-1gb", 1024, 1, 25, 1.0, 6.0, EVERYWHERE),  # the disk is too small for IMAGE_60GB
    ("s-1vcpu-1gb-amd", 1024, 1, 25, 1.0, 7.0, ["nyc3", "sfo3", "ams3"]),
    ("s-1vcpu-2gb", 2048, 1, 50, 2.0, 12.0, EVERYWHERE),
    ("s-2vcpu-2gb", 2048, 2, 60, 3.0, 18.0, EVERYWHERE),
    ("s-2vcpu-4gb", 4096, 2, 80, 4.0, 24.0, EVERYWHERE),
    ("s-4vcpu-8gb", 8192, 4, 160, 5.0, 48.0, EVERYWHERE),
    ("c-2", 4096, 2, 25, 4.0, 42.0, EVERYWHERE),
    ("g-2vcpu-8gb", 8192, 2, 25, 4.0, 63.0, ["nyc3", "fra1"]),
    ("m-2vcpu-16gb", 16384, 2, 50, 4.0, 84.0, ["nyc3", "sfo3"]),
    ("s-12vcpu-48gb", 49152, 12, 960, 10.0, 288.0, []),  # sold in no region
    ("gpu-h100x1-80gb", 245760, 20, 720, 15.0, 2522.16, ["tor1"]),  # a GPU
]

SNAPSHOT = 172835001
CUSTOM = 172835002
IMAGE_60GB = 172835003
FEW_REGIONS = "rockylinux-8-x64"

IMAGES = [  # id, slug, distribution, name, type, smallest disk (GiB), regions
    (195932981, "ubuntu-24-04-x64", "Ubuntu", "24.04 (LTS) x64", "base", 7, EVERYWHERE),
    (195932982, "ubuntu-22-04-x64", "Ubuntu", "22.04 (LTS) x64", "base", 7, EVERYWHERE),
    (195932983, "debian-13-x64", "Debian", "13 x64", "base", 7, EVERYWHERE),
    (195932984, "debian-12-x64", "Debian", "12 x64", "base", 7, EVERYWHERE),
    (195932985, "rockylinux-9-x64", "Rocky Linux", "9 x64", "base", 10, EVERYWHERE),
    (195932986, FEW_REGIONS, "Rocky Linux", "8 x64", "base", 10, ["nyc3", "fra1"]),
    (195932987, "fedora-42-x64", "Fedora", "42 x64", "base", 15, EVERYWHERE),
    (SNAPSHOT, None, "Ubuntu", "web-2026-08-01", "snapshot", 25, ["nyc3"]),
    (CUSTOM, None, "Unknown OS", "flatcar.img", "custom", 10, ["nyc3", "ams3"]),
    (IMAGE_60GB, None, "Debian", "database-2026-08-01", "snapshot", 60, ["nyc3", "ams3"]),
]


def regions(sizes):
    """{slug: region}; a region's "sizes" are those that are sold there."""
    return {
        slug: {"slug": slug, "name": name, "features": list(FEATURES), "available": available,
               "sizes": [size["slug"] for size in sizes.values() if slug in size["regions"]]}
        for slug, name, available in REGIONS}


def sizes():
    """{slug: size}"""
    return {row[0]: _size(*row) for row in SIZES}


def _size(slug, memory, vcpus, disk, transfer, monthly, where):
    size = {"slug": slug, "memory": memory, "vcpus": vcpus, "disk": disk, "transfer": transfer,
            "price_monthly": monthly, "price_hourly": round(monthly / 672, 5), "regions": list(where),
            "available": True, "description": "Basic", "disk_info": _disk_info(disk)}
    if slug.startswith("gpu-"):
        size["gpu_info"] = {"count": 1, "model": "nvidia_h100", "vram": {"amount": 80, "unit": "gib"}}
    return size


def _disk_info(disk):
    return [{"type": "local", "size": {"amount": disk, "unit": "gib"}}]


def images():
    """{id: image}"""
    return {row[0]: _image(*row) for row in IMAGES}


def _image(number, slug, distribution, name, kind, min_disk, where):
    return {"id": number, "slug": slug, "distribution": distribution, "name": name, "type": kind,
            "public": kind == "base", "regions": list(where), "created_at": "2026-07-14T09:30:12Z",
            "min_disk_size": min_disk, "size_gigabytes": 2.34, "description": name, "tags": [],
            "status": "available", "error_message": ""}


def droplet(number, order, size, region, image, created_at):
    """A new droplet as the API shows it."""
    wanted = [name for name in ("backups", "ipv6", "monitoring") if order.get(name)]
    return {"id": number, "name": order["name"], "memory": size["memory"], "vcpus": size["vcpus"],
            "disk": size["disk"], "disk_info": _disk_info(size["disk"]), "locked": True, "status": "new",
            "kernel": None, "created_at": created_at, "features": wanted + ["private_networking", "droplet_agent"],
            "backup_ids": [], "next_backup_window": None, "snapshot_ids": [], "image": copy.deepcopy(image),
            "volume_ids": [], "size": copy.deepcopy(size), "size_slug": size["slug"],
            "networks": {"v4": [], "v6": []}, "region": copy.deepcopy(region), "tags": list(order.get("tags") or [])}
