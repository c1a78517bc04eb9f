#include "pkg/admin/pages.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <memory>
#include <string_view>
#include <utility>

#include "pkg/admin/status_page.h"

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
  bool local_only = false;
};

HttpResponse Readiness(const AdminSources& sources) {
  const std::vector<std::string> reasons = sources.not_ready_reasons();
  if (reasons.empty()) return {200, kPlainText, "ok\n"};
  return {503, kPlainText, fmt::format("{}\n", fmt::join(reasons, "\n"))};
}

constexpr Page kPages[] = {
    {"/status", "pools, servers and rates, live",
     [](const AdminSources&) {
       return HttpResponse{200, kHtml, std::string(kStatusHtml)};
     },
     true},
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
     },
     true},
};

// What /status is made of; not in the index.
constexpr Page kStatusParts[] = {
    {"/status.js", "",
     [](const AdminSources&) {
       return HttpResponse{200, "text/javascript; charset=utf-8", std::string(kStatusJs)};
     },
     true},
    {"/status.css", "",
     [](const AdminSources&) {
       return HttpResponse{200, "text/css; charset=utf-8", std::string(kStatusCss)};
     }},
    {"/status.json", "",
     [](const AdminSources& s) {
       return HttpResponse{200, kJson, s.status_json()};
     },
     true},
};

HttpResponse Index(const AdminSources& sources) {
  std::string body = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width\"><title>cashew</title>"
      "<link rel=\"stylesheet\" href=\"status.css\"></head><body>\n"
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
  const auto add = [&](const Page& page) {
    routes[page.path] = HttpRoute([shared, &page] { return page.render(*shared); },
                                  page.local_only && !shared->show_all_to_everyone);
  };
  std::for_each(std::begin(kPages), std::end(kPages), add);
  std::for_each(std::begin(kStatusParts), std::end(kStatusParts), add);
  return routes;
}

}  // namespace cashew::admin
