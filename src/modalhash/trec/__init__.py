"""Rankings and judgements in the files of TREC: read, measured and written."""

from modalhash.trec.files import TrecRun, read_qrels, read_run
from modalhash.trec.measuring import score_trec
from modalhash.trec.writing import write_trec

__all__ = ["TrecRun", "read_qrels", "read_run", "score_trec", "write_trec"]
