// Loads, unloads and looks at other models of the same server.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ipc/messages.h"

namespace tpb::stub {

// What a load takes in place of the model's files: paths, as `file:1/model.py`, and contents. Views.
using Files = std::vector<std::pair<std::string_view, std::string_view>>;

// Each waits, without the GIL, until the server has done it; any thread with the GIL held. Throw Error.
void LoadModel(const std::string& name, const std::string& config, const Files& files);
void UnloadModel(const std::string& name, bool unload_dependents);
bool IsModelReady(const std::string& name, const std::string& version);

}  // namespace tpb::stub
