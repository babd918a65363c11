"""Where the jobs of a run are done: in threads of this process, or by Dask workers that see the same folders.

A job depends on nothing but its fields and the files it names; it writes products and gives back rows. So it may be
done anywhere, and twice: the same bytes come out, and they take their place whole. Only the run that maps the jobs
writes to the database.
"""

from calib.scheduling.connection import dask_mapper, local_cluster, mapper_for
from calib.scheduling.coordinator import DaskMapper
from calib.scheduling.mapper import Job, Mapper, Results, ThreadMapper

__all__ = ["DaskMapper", "Job", "Mapper", "Results", "ThreadMapper", "dask_mapper", "local_cluster", "mapper_for"]
