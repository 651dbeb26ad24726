# Scripts that build NVIDIA's Python backend pass TRITON_ENABLE_GPU, TRITON_CORE_REPO_TAG and others of that kind. Nothing
# here is fetched from Triton's repositories or depends on them, so they are taken, and change nothing.
get_cmake_property(cached CACHE_VARIABLES)
set(ignored "")
foreach(name IN LISTS cached)
  if(name MATCHES "^TRITON_")
    list(APPEND ignored "${name}=${${name}}")
  endif()
endforeach()
if(ignored)
  list(JOIN ignored ", " ignored)
  message(STATUS "Ignored, this backend is built without Triton's repositories and without CUDA: ${ignored}")
endif()
