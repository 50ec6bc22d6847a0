"""File systems on which a database may come to harm, and what is known of each.

What they are called is what /proc/self/mountinfo says; `fuse.` is followed by what the program calls itself.
"""

_ONE_MACHINE = "its locks and shared memory hold between processes of one machine only"

_KNOWN = {
    "nfs": "locks need lockd (not nolock), and SQLite's shared memory holds on one machine only",
    "nfs4": "SQLite's shared memory holds on one machine only",
    "cifs": "locks need a server that keeps them (not nobrl), and SQLite's shared memory holds on one machine only",
    "smb3": "locks need a server that keeps them (not nobrl), and SQLite's shared memory holds on one machine only",
    "smbfs": _ONE_MACHINE,
    "ncpfs": _ONE_MACHINE,
    "9p": "files can be mapped with cache=mmap only, and locks are the guest's own unless the server takes them",
    "virtiofs": "locks are the guest's own unless virtiofsd shares them, and mapped files are not shared with the host",
    "vboxsf": "files cannot be mapped for writing, and locks are the guest's own",
    "vmhgfs": "locks are the guest's own",
    "fuse.vmhgfs-fuse": "locks are the guest's own",
    "prl_fs": "locks are the guest's own",
    "drvfs": "locks do not hold against programs of Windows",
    "fakeowner": "Docker Desktop's share of a folder of its host: locks do not hold against programs there",
    "fuse.grpcfuse": "Docker Desktop's share of a folder of its host: locks do not hold against programs there",
    "fuse.osxfs": "Docker Desktop's share of a folder of its host: locks do not hold against programs there",
    "ceph": "locks hold, but SQLite's shared memory holds on one machine only",
    "fuse.ceph": "locks hold, but SQLite's shared memory holds on one machine only",
    "fuse.ceph-fuse": "locks hold, but SQLite's shared memory holds on one machine only",
    "glusterfs": "SQLite's shared memory holds on one machine only, and needs direct-io off",
    "fuse.glusterfs": "SQLite's shared memory holds on one machine only, and needs direct-io off",
    "lustre": "locks are refused unless it is mounted with flock, and of one machine only with localflock",
    "beegfs": "locks are of one machine only unless tuneUseGlobalFileLocks is set",
    "fhgfs": "locks are of one machine only unless tuneUseGlobalFileLocks is set",
    "gpfs": "locks hold, but SQLite's shared memory holds on one machine only",
    "panfs": _ONE_MACHINE,
    "wekafs": "locks hold, but SQLite's shared memory holds on one machine only",
    "pvfs2": "it has no locks",
    "afs": "locks of parts of files, which SQLite takes, are of one machine only",
    "coda": _ONE_MACHINE,
    "gfs2": "locks hold, but SQLite's shared memory holds on one machine only",
    "ocfs2": "locks hold, but SQLite's shared memory holds on one machine only",
    "fuse.sshfs": "its server is told of no lock, and what is synced may not be on its disk",
    "fuse.rclone": "it has no locks of its server's, and writes whole files, later",
    "fuse.s3fs": "objects are written whole, later, and nobody locks them",
    "fuse.goofys": "objects are written whole, and nobody locks or changes them",
    "fuse.mount-s3": "objects are written whole, and nobody locks or changes them",
    "fuse.mountpoint-s3": "objects are written whole, and nobody locks or changes them",
    "fuse.gcsfuse": "objects are written whole, later, and nobody locks them",
    "fuse.blobfuse": "objects are written whole, later, and nobody locks them",
    "fuse.blobfuse2": "objects are written whole, later, and nobody locks them",
    "fuse.davfs": "files are written whole, later",
    "fuse.curlftpfs": "files are written whole, and nobody locks them",
    "fuse.juicefs": "locks hold, but SQLite's shared memory holds on one machine only",
    "fuse.seaweedfs": _ONE_MACHINE,
    "fuse.mfs": "locks hold, but SQLite's shared memory holds on one machine only",
    "fuse.lizardfs": _ONE_MACHINE,
}

# Of one machine's own disks.
_LOCAL = frozenset({"fuse.fuse-overlayfs", "fuse.bindfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs", "fuse.lxcfs"})


def known_of(kind: str) -> str:
    """What speaks against a file system of this kind; nothing of a local one."""
    if kind in _LOCAL:
        return ""
    if kind in _KNOWN:
        return _KNOWN[kind]
    if kind.startswith("fuse.") or kind == "fuse":
        return "whether its locks hold, and between whom, its maker knows"
    return ""
