# Two shapes of the same product. A wheel has the packages side by side in site-packages and the backend library
# inside triton_python; a plain `cmake --install` gives the folder that tritonserver's --backend-directory expects.
if(DEFINED SKBUILD)
  set(TPB_BACKEND_DIR "triton_python/backends/python")
  set(TPB_PACKAGE_DIR "triton_python_backend_utils")
else()
  set(TPB_BACKEND_DIR "backends/python")
  set(TPB_PACKAGE_DIR "backends/python/triton_python_backend_utils")
  install(DIRECTORY "${CMAKE_SOURCE_DIR}/triton_python_backend_utils/" DESTINATION "${TPB_PACKAGE_DIR}"
          PATTERN "__pycache__" EXCLUDE PATTERN "*.so" EXCLUDE)
endif()

# What `triton-python stub build` compiles on a machine that has a Python for which no module is there.
if(DEFINED SKBUILD)
  set(TPB_SOURCE_DIR "triton_python/source")
  install(FILES CMakeLists.txt LICENSE DESTINATION "${TPB_SOURCE_DIR}")
  install(DIRECTORY cmake ipc stub DESTINATION "${TPB_SOURCE_DIR}" PATTERN "__pycache__" EXCLUDE)
endif()
