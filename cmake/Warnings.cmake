# One interface target that every room links, so that warnings are chosen in one place.
add_library(tpb_warnings INTERFACE)
target_compile_options(tpb_warnings INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor)
option(TPB_WERROR "Treat warnings as errors" OFF)
if(TPB_WERROR)
  target_compile_options(tpb_warnings INTERFACE -Werror)
endif()
