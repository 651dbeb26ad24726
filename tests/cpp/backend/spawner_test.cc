// What a spawned process finds as its descriptors, whatever numbers they have in the server.
#include "backend/supervisor/spawner.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <tuple>
#include <utility>

#include "ipc/unique_fd.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace {

using tpb::ipc::UniqueFd;

std::pair<UniqueFd, UniqueFd> Pipe() {
  int ends[2] = {-1, -1};
  CHECK_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string ReadAll(int fd) {
  std::string text;
  char letter = 0;
  while (::read(fd, &letter, 1) == 1) {
    text += letter;
  }
  return text;
}

// `order`: which of the three pipes is made first, second and third.
void SpawnAndListen(const std::array<std::size_t, 3>& order) {
  std::array<UniqueFd, 3> reading;
  std::array<UniqueFd, 3> writing;
  for (const std::size_t i : order) {
    std::tie(reading[i], writing[i]) = Pipe();
  }
  tpb::backend::Spawner spawner;
  const pid_t pid = spawner.Spawn(
      {.argv = {"/bin/sh", "-c", "cat; echo out; echo err >&2; echo socket >&3"},
       .environment = {"PATH=/usr/bin:/bin"},
       .placement = tpb::backend::Placement::OfThisThread(),
       .config = {}},
      {.socket = writing[2].get(), .standard_output = writing[0].get(), .standard_error = writing[1].get()});
  writing = {};
  CHECK_EQ(ReadAll(reading[0].get()), "out\n");
  CHECK_EQ(ReadAll(reading[1].get()), "err\n");
  CHECK_EQ(ReadAll(reading[2].get()), "socket\n");
  CHECK_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST(Spawner, GivesTheChildItsDescriptors) { SpawnAndListen({0, 1, 2}); }

// A daemon may have closed its own: then the ends lie where the child's are to be.
TEST(Spawner, GivesTheChildItsDescriptorsWhereTheServerHasNoneOfItsOwn) {
  std::array<std::size_t, 3> order{0, 1, 2};
  do {
    for (const int closed : {1, 2, 3, 4}) {
      const std::string end = tpb::testing::RunInChild([closed, order] {
        for (int fd = 0; fd < closed; ++fd) {
          ::close(fd);
        }
        SpawnAndListen(order);
      });
      CHECK_EQ(end, "exit 0");
    }
  } while (std::ranges::next_permutation(order).found);
}

}  // namespace
