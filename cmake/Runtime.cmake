# What both products are linked with: a C++ library of their own, because the server and the environments of models
# bring others, which may be older than our compiler's.
add_library(tpb_runtime INTERFACE)
if(NOT TPB_SANITIZE)
  # Without sections that nobody uses: parts of the C++ library would otherwise need a newer glibc for nothing.
  target_link_options(tpb_runtime INTERFACE -static-libstdc++ LINKER:--gc-sections "$<$<CONFIG:Release,MinSizeRel>:-s>")
  if(TPB_ZIG)
    # Its unwinder is LLVM's and would be linked in. But threads are ended by unwinding them, by the C library with that
    # of GCC, and two kinds must not meet on one stack.
    add_library(libgcc_s SHARED "${CMAKE_SOURCE_DIR}/cmake/libgcc_s/unwind.cc")
    set_target_properties(libgcc_s PROPERTIES
      PREFIX "" OUTPUT_NAME libgcc_s SUFFIX ".so.1" NO_SONAME ON
      CXX_VISIBILITY_PRESET default
      LINK_DEPENDS "${CMAKE_SOURCE_DIR}/cmake/libgcc_s/versions.map")
    target_compile_options(libgcc_s PRIVATE -fno-builtin)
    target_link_options(libgcc_s PRIVATE
      -nostdlib -nostdlib++ LINKER:-soname,libgcc_s.so.1
      "LINKER:--version-script,${CMAKE_SOURCE_DIR}/cmake/libgcc_s/versions.map")
    add_dependencies(tpb_runtime libgcc_s)
    # As a plain file, which zig takes as it is; -lgcc_s would mean its own unwinder again.
    target_link_options(tpb_runtime INTERFACE "$<TARGET_FILE:libgcc_s>")
  endif()
endif()
