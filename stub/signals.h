// What a process that the server started does about the signals that stop programs.
#pragma once

namespace tpb::stub {

// Makes SIGINT and SIGTERM do nothing: it is the server that decides when a model ends. Processes forked by
// the model get back what was there before, so that multiprocessing can end its workers; started programs
// have the defaults.
void IgnoreStopSignals();

}  // namespace tpb::stub
