# A toolchain file for `make wheel`: the compiler of PyPI's ziglang, which links for a glibc as old as it is told to.
# The environment variable TPB_ZIG is the path of its program.
set(TPB_ZIG "$ENV{TPB_ZIG}" CACHE FILEPATH "The program zig")
set(TPB_GLIBC "2.17" CACHE STRING "The oldest glibc that the products are to run with")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TPB_ZIG TPB_GLIBC)
if(NOT EXISTS "${TPB_ZIG}")
  message(FATAL_ERROR "the environment variable TPB_ZIG is '${TPB_ZIG}', which is no program: make wheel sets it")
endif()
set(CMAKE_CXX_COMPILER "${TPB_ZIG}" c++ -target ${CMAKE_HOST_SYSTEM_PROCESSOR}-linux-gnu.${TPB_GLIBC})
