from typing import NamedTuple, Optional

from ._rextfv_element import Target, _Backend

class Folder(NamedTuple):
    path: str
    power: str

def upload_nothing(backend: type[_Backend], target: Target) -> None: ...
def upload_over(backend: type[_Backend], target: Target, archive: str, limit: Optional[int]) -> None: ...
