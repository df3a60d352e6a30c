"""A small hostmanager in the manner of ToMaTo's: elements with states, actions and information.

What stands here is what an element of ToMaTo's has to do with the shared directory, under its names.
The hypervisor is played: ``running`` says whether the guest is on.
"""

import importlib
import os

#: The module under test; the mixin is the same for all.
RexTFVElement = importlib.import_module(os.environ.get("NLXTP_TOMATO", "nlxtp_ctypes.tomato")).RexTFVElement

ST_CREATED = "created"
ST_PREPARED = "prepared"
ST_STARTED = "started"


def joinDicts(first, second):
    """Joins what two parents tell of an element."""
    joined = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(joined.get(key), dict)
        joined[key] = joinDicts(joined[key], value) if both else value
    return joined


class UserError(Exception):
    """What a hostmanager tells its users."""


class Element(object):
    """What all elements have in common."""

    TYPE = None

    def __init__(self, data, id_):
        self.data = data
        self.id = id_
        self.state = ST_CREATED
        self.running = False
        if not os.path.exists(self.dataPath()):
            os.makedirs(self.dataPath())

    def dataPath(self, filename=""):
        return os.path.join(self.data, self.TYPE, str(self.id), filename)

    def info(self):
        return {"id": self.id, "type": self.TYPE, "state": self.state, "attrs": {"rextfv_supported": False}}

    def _getState(self):
        if self.state == ST_CREATED:
            return ST_CREATED
        return ST_STARTED if self.running else ST_PREPARED

    def action_start(self):
        self.running = True
        self.state = ST_STARTED

    def action_stop(self):
        self.running = False
        self.state = ST_PREPARED

    def action_rextfv_upload_use(self):
        self._use_rextfv_archive(self.dataPath("rextfv_up.tar.gz"))

    def action_rextfv_download_grant(self):
        self._create_rextfv_archive(self.dataPath("rextfv.tar.gz"))
        return self.dataPath("rextfv.tar.gz")


class KVMQM(RexTFVElement, Element):
    """A virtual machine: the shared directory is partition 1 of its second disk."""

    TYPE = "kvmqm"
    rextfv_max_size = 512 * 1024 * 124

    def action_prepare(self):
        self._nlxtp_create_disk()
        self.state = ST_PREPARED

    def _nlxtp_path(self, filename):
        return self.dataPath(os.path.join("nlxtp", "mountpoint", filename))

    def _nlxtp_device_filename(self):
        return self.dataPath(os.path.join("nlxtp", "bigdevice"))

    def info(self):
        return joinDicts(Element.info(self), RexTFVElement.info(self))


class UnchangedKVMQM(KVMQM):
    """The same with the hooks that mount, which an element may keep when only its import is changed."""

    def __init__(self, *arguments):
        KVMQM.__init__(self, *arguments)
        self.mounts = []

    def action_prepare(self):
        self._nlxtp_create_device_and_mountpoint()
        self.state = ST_PREPARED

    def _nlxtp_make_readable(self):
        self._nlxtp_create_device_and_mountpoint()
        self.mounts.append("mount read-only")

    def _nlxtp_make_writeable(self):
        self._nlxtp_create_device_and_mountpoint()
        self.mounts.append("mount")

    def _nlxtp_close(self):
        self.mounts.append("unmount")

    def _nlxtp_create_device_and_mountpoint(self):
        if not os.path.exists(self._nlxtp_path("")):
            os.makedirs(self._nlxtp_path(""))
        if not os.path.exists(self._nlxtp_device_filename()):
            self.make_disk(self._nlxtp_device_filename(), self.rextfv_max_size // 1024)

    def make_disk(self, path, kilobytes):
        """What ToMaTo does with fdisk and mkfs.vfat."""
        self._nlxtp_create_disk()


class OpenVZ(RexTFVElement, Element):
    """A container: the shared directory is one of its guest's."""

    TYPE = "openvz"

    def _imagePath(self):
        return self.dataPath("private")

    def action_prepare(self):
        os.makedirs(os.path.join(self._imagePath(), "mnt", "nlXTP"))
        self.state = ST_PREPARED

    def _execute(self, command):
        raise NotImplementedError

    def _nlxtp_path(self, filename):
        if self.state != ST_CREATED:
            return os.path.join(self._imagePath(), "mnt", "nlXTP", filename)
        return None

    def action_rextfv_upload_use(self):
        Element.action_rextfv_upload_use(self)
        if self.state == ST_STARTED:
            self._execute("nlXTP_mon --background")

    def info(self):
        return joinDicts(Element.info(self), RexTFVElement.info(self))


class UnchangedOpenVZ(OpenVZ):
    """The same with the hooks that make the directory."""

    def _nlxtp_make_readable(self):
        if not os.path.exists(self._nlxtp_path("")):
            os.makedirs(self._nlxtp_path(""))

    _nlxtp_make_writeable = _nlxtp_make_readable


class TranslatingOpenVZ(OpenVZ):
    """The same in a hostmanager that has exceptions of its own."""

    def _nlxtp_fault(self, error):
        return UserError("%s: %s" % (error.kind, error))
