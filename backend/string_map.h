// Reads the only JSON that the backend looks at: flat maps of strings, as core prints its backend
// configuration.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace tpb::backend {

// The string members of the object that is member `member` of the outer object. Members of other types are
// skipped; a missing `member` is an empty map. Throws ipc::Error for text that is not JSON.
std::map<std::string, std::string> ReadStringMap(std::string_view json, std::string_view member);

}  // namespace tpb::backend
