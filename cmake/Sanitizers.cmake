# The asan, tsan and fuzz presets set TPB_SANITIZE; everything in the build is then instrumented.
if(TPB_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(TPB_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(TPB_SANITIZE STREQUAL "fuzzer")
  # With the coverage that tests/fuzz reports; clang alone knows it.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fsanitize=address,undefined -fprofile-instr-generate)
elseif(TPB_SANITIZE)
  message(FATAL_ERROR "TPB_SANITIZE is '${TPB_SANITIZE}': expected nothing, 'address', 'thread' or 'fuzzer'")
endif()
