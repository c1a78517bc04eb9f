// The operators' tool. Wiring only.

#include <cstdlib>
#include <iostream>
#include <unistd.h>

#include "cmd/cashewctl/cli.h"

int main(int argc, char** argv) {
  // What gRPC logs of a failed connection is in the error that we print.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  cashew::ctl::Session session(std::cout, std::cerr, isatty(STDOUT_FILENO) == 1);
  const int code = cashew::ctl::Run(argc, argv, session);
  std::cout.flush();
  // Output that did not get to its file was not delivered.
  return std::cout.good() ? code : cashew::ctl::kRefused;
}
