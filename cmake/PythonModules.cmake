# Extension modules for several Pythons in one build. CMake's own find_package(Python) knows one per project, so each
# interpreter is asked what its modules need (find_pythons.py), and pybind11 is used as the headers that it is.
set(TPB_PYTHONS "auto" CACHE STRING
    "Pythons to build _core for: auto (those on PATH, pyenv's, the configured one), own (the configured one), or interpreters separated by semicolons, beside the configured one")

find_package(Python 3.9 COMPONENTS Interpreter REQUIRED)
execute_process(COMMAND "${Python_EXECUTABLE}" -m pybind11 --cmakedir
                OUTPUT_VARIABLE pybind11_dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)

# Sets `out` to the JSON that describes the interpreters of TPB_PYTHONS; ends the configuration where one that was
# named cannot have a module.
function(tpb_find_pythons out)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -B "${CMAKE_SOURCE_DIR}/cmake/find_pythons.py" ${TPB_PYTHONS}
    OUTPUT_VARIABLE found ERROR_VARIABLE reason RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "TPB_PYTHONS is '${TPB_PYTHONS}', but _core cannot be built for it: ${reason}")
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

# Sets `out` to the list that is at a key of a JSON object.
function(tpb_json_list out json key)
  string(JSON count LENGTH "${json}" "${key}")
  set(values "")
  if(count GREATER 0)
    math(EXPR last "${count} - 1")
    foreach(index RANGE ${last})
      string(JSON value GET "${json}" "${key}" ${index})
      list(APPEND values "${value}")
    endforeach()
  endif()
  set(${out} "${values}" PARENT_SCOPE)
endfunction()

# Sets `out` to the include directories that an interpreter's modules need.
function(tpb_python_includes out python)
  tpb_json_list(includes "${python}" include)
  string(JSON multiarch GET "${python}" multiarch)
  string(JSON version GET "${python}" version)
  # Debian's pyconfig.h lies in /usr/include/<multiarch>/python3.N, where only the system's compiler looks by itself.
  foreach(folder IN LISTS includes)
    cmake_path(GET folder PARENT_PATH above)
    cmake_path(GET folder FILENAME name)
    if(multiarch AND EXISTS "${above}/${multiarch}/${name}/pyconfig.h")
      set(linked "${CMAKE_CURRENT_BINARY_DIR}/include-${version}")
      file(MAKE_DIRECTORY "${linked}/${multiarch}")
      file(CREATE_LINK "${above}/${multiarch}/${name}" "${linked}/${multiarch}/${name}" SYMBOLIC)
      list(APPEND includes "${linked}")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES includes)
  set(${out} "${includes}" PARENT_SCOPE)
endfunction()

# Sets `out` to whether pybind11 compiles with an interpreter's headers: they may be newer than it, or broken.
function(tpb_headers_compile out python)
  tpb_python_includes(includes "${python}")
  string(JSON executable GET "${python}" executable)
  string(MAKE_C_IDENTIFIER "TPB_HEADERS_COMPILE_${executable}" known)
  if(NOT DEFINED ${known})
    set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
    set(probe "${CMAKE_CURRENT_BINARY_DIR}/probe.cc")
    file(WRITE "${probe}" "#include <pybind11/pybind11.h>\n")
    try_compile(${known} "${CMAKE_CURRENT_BINARY_DIR}/probe" SOURCES "${probe}"
                CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${includes};${pybind11_INCLUDE_DIRS}"
                CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON)
  endif()
  set(${out} "${${known}}" PARENT_SCOPE)
endfunction()

# Adds a module for one interpreter: tpb_add_python_module(target name python source...), where `python` is its JSON.
function(tpb_add_python_module target name python)
  tpb_python_includes(includes "${python}")
  string(JSON suffix GET "${python}" suffix)
  add_library(${target} MODULE ${ARGN})
  # Python's and pybind11's headers are not ours to warn about.
  target_include_directories(${target} SYSTEM PRIVATE ${includes})
  target_link_libraries(${target} PRIVATE pybind11::headers)
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME "${name}" SUFFIX "${suffix}" DEBUG_POSTFIX "")
endfunction()

# Calls tpb_add_python_module(<target>_<version> name ...) once for every version of Python that TPB_PYTHONS has, with
# one line about them. Sets `out` to the targets, and <out>_EXECUTABLES to the interpreters.
function(tpb_add_python_modules out target name)
  tpb_find_pythons(found)
  string(JSON count LENGTH "${found}" usable)
  math(EXPR last "${count} - 1")
  set(versions "")
  set(targets "")
  set(executables "")
  set(passed_over "")
  foreach(index RANGE ${last})
    string(JSON python GET "${found}" usable ${index})
    string(JSON version GET "${python}" version)
    string(JSON executable GET "${python}" executable)
    string(JSON configured GET "${python}" configured)
    if(version IN_LIST versions)
      continue()
    endif()
    if(NOT configured AND TPB_PYTHONS STREQUAL "auto")
      tpb_headers_compile(compiles "${python}")
      if(NOT compiles)
        list(APPEND passed_over "${version} (${executable}: its headers do not compile with pybind11 ${pybind11_VERSION})")
        continue()
      endif()
    endif()
    tpb_add_python_module(${target}_${version} ${name} "${python}" ${ARGN})
    list(APPEND versions "${version}")
    list(APPEND targets ${target}_${version})
    list(APPEND executables "${executable}")
  endforeach()

  string(JSON count LENGTH "${found}" passed_over)
  if(count GREATER 0)
    math(EXPR last "${count} - 1")
    foreach(index RANGE ${last})
      string(JSON which MEMBER "${found}" passed_over ${index})
      string(JSON reason GET "${found}" passed_over "${which}")
      list(APPEND passed_over "${which} (${reason})")
    endforeach()
  endif()
  list(JOIN versions ", " versions)
  list(JOIN passed_over ", " passed_over)
  if(passed_over)
    set(passed_over "; passed over: ${passed_over}")
  endif()
  message(STATUS "${name} is built for Python ${versions}${passed_over}")
  set(${out} "${targets}" PARENT_SCOPE)
  set(${out}_EXECUTABLES "${executables}" PARENT_SCOPE)
endfunction()
