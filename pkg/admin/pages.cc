#include "pkg/admin/pages.h"

#include <fmt/format.h>
#include <memory>
#include <string_view>
#include <utility>

namespace cashew::admin {
namespace {

constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kHtml[] = "text/html; charset=utf-8";
constexpr char kJson[] = "application/json";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";

struct Page {
  const char* path;
  const char* about;
  HttpResponse (*render)(const AdminSources&);
};

HttpResponse Readiness(const AdminSources& sources) {
  const std::vector<std::string> reasons = sources.not_ready_reasons();
  if (reasons.empty()) return {200, kPlainText, "ok\n"};
  return {503, kPlainText, fmt::format("{}\n", fmt::join(reasons, "\n"))};
}

constexpr Page kPages[] = {
    {"/metrics", "metrics for Prometheus",
     [](const AdminSources& s) {
       return HttpResponse{200, kPrometheusText, s.metrics()};
     }},
    {"/livez", "whether the process lives",
     [](const AdminSources&) {
       return HttpResponse{200, kPlainText, "ok\n"};
     }},
    {"/readyz", "whether it should get traffic, and if not, why", &Readiness},
    {"/pools", "pools and their servers, as JSON",
     [](const AdminSources& s) {
       return HttpResponse{200, kJson, s.pools_json()};
     }},
    {"/config", "the configuration in use",
     [](const AdminSources& s) {
       return HttpResponse{200, kPlainText, s.config_text()};
     }},
};

HttpResponse Index(const AdminSources& sources) {
  std::string body = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><title>cashew</title></head><body>\n"
      "<h1>cashew {}</h1>\n<ul>\n",
      sources.version);
  for (const Page& page : kPages) {
    body += fmt::format("<li><a href=\"{0}\">{0}</a>: {1}</li>\n", page.path, page.about);
  }
  body += "</ul>\n</body></html>\n";
  return {200, kHtml, std::move(body)};
}

}  // namespace

HttpRoutes AdminRoutes(AdminSources sources) {
  const auto shared = std::make_shared<const AdminSources>(std::move(sources));
  HttpRoutes routes;
  routes["/"] = [shared] { return Index(*shared); };
  for (const Page& page : kPages) {
    routes[page.path] = [shared, &page] { return page.render(*shared); };
  }
  return routes;
}

}  // namespace cashew::admin
