# One line per fact:
#   cashew_library(NAME ring SRCS ketama.cc modula.cc DEPS cashew::hash)
#   cashew_test(NAME ketama_test SRCS ketama_test.cc DEPS cashew::ring)
#   cashew_bench(NAME ketama_bench SRCS ketama_bench.cc DEPS cashew::ring)

function(cashew_library)
  cmake_parse_arguments(A "" "NAME" "SRCS;DEPS" ${ARGN})
  add_library(cashew_${A_NAME} STATIC ${A_SRCS})
  add_library(cashew::${A_NAME} ALIAS cashew_${A_NAME})
  target_include_directories(cashew_${A_NAME} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(cashew_${A_NAME} PUBLIC ${A_DEPS})
endfunction()

# Runs with the repository root as its working directory, so golden data is found
# by its path in the tree.
function(cashew_test)
  cmake_parse_arguments(A "" "NAME;TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NOT CASHEW_TESTS)
    return()
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  add_executable(${A_NAME} ${A_SRCS})
  target_include_directories(${A_NAME} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${A_NAME} PRIVATE ${A_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${A_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  # A table of cases takes long to optimise, with sanitizers minutes; what is tested is optimised.
  target_compile_options(${A_NAME} PRIVATE -O0 -g1 -U_FORTIFY_SOURCE)
  add_test(NAME ${A_NAME} COMMAND ${A_NAME} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${A_NAME} PROPERTIES LABELS unit TIMEOUT ${A_TIMEOUT})
endfunction()

# Built with everything else so that it cannot rot; run by `./dev bench --micro`.
function(cashew_bench)
  cmake_parse_arguments(A "" "NAME" "SRCS;DEPS" ${ARGN})
  if(NOT CASHEW_TESTS)
    return()
  endif()
  add_executable(${A_NAME} ${A_SRCS})
  target_include_directories(${A_NAME} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${A_NAME} PRIVATE ${A_DEPS} benchmark::benchmark_main)
  set_target_properties(${A_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
endfunction()
