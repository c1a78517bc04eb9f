#include "pkg/k8s/pod_annotations.h"

#include <set>
#include <utility>

#include "fmt/format.h"

#include "pkg/k8s/api_json.h"

namespace cashew::k8s {

namespace {

using api::Json;
using api::Object;
using api::Text;

PodNote ReadPod(const Json& json, const std::string& path) {
  PodNote pod;
  const Json* metadata = Object(json, "metadata", path);
  if (metadata == nullptr) throw api::Malformed{path + ".metadata is missing"};
  pod.name = Text(*metadata, "name", path + ".metadata");
  pod.resource_version = Text(*metadata, "resourceVersion", path + ".metadata");
  if (pod.name.empty()) throw api::Malformed{path + ".metadata.name is missing"};
  if (const Json* annotations = Object(*metadata, "annotations", path + ".metadata")) {
    pod.weight = Text(*annotations, kWeightAnnotation, path + ".metadata.annotations");
    pod.server_name = Text(*annotations, kNameAnnotation, path + ".metadata.annotations");
  }
  return pod;
}

absl::Status TooMany() {
  return absl::ResourceExhaustedError(
      fmt::format("more than {} annotated pods", PodStore::kMaxNotes));
}

}  // namespace

absl::StatusOr<ObjectList<PodNote>> ParsePodList(std::string_view json) {
  return api::Guarded(json, "PartialObjectMetadataList", [](const Json& list) {
    return api::ReadList<PodNote>(list, "PartialObjectMetadataList", &ReadPod);
  });
}

absl::StatusOr<WatchEvent<PodNote>> ParsePodEvent(std::string_view json) {
  return api::Guarded(json, "watch event",
                      [](const Json& event) { return api::ReadEvent<PodNote>(event, &ReadPod); });
}

absl::Status PodStore::Replace(std::vector<PodNote> pods) {
  std::set<std::string> listed;
  PodNotes next;
  for (PodNote& pod : pods) {
    listed.insert(pod.name);
    std::string name = pod.name;
    if (!pod.empty()) next[std::move(name)] = std::move(pod);
  }
  if (next.size() > kMaxNotes) return TooMany();
  ForgetGone();
  std::map<std::string, int64_t> gone;
  for (auto& [name, note] : notes_) {
    if (listed.contains(name)) continue;
    const auto since = gone_ns_.find(name);
    gone[name] = since == gone_ns_.end() ? clock_.NowNs() : since->second;
    next[name] = std::move(note);
  }
  notes_ = std::move(next);
  gone_ns_ = std::move(gone);
  return absl::OkStatus();
}

absl::StatusOr<bool> PodStore::Apply(PodNote pod) {
  const bool forgot = ForgetGone();
  gone_ns_.erase(pod.name);
  const auto it = notes_.find(pod.name);
  if (pod.empty()) {
    if (it == notes_.end()) return forgot;
    notes_.erase(it);
    return true;
  }
  if (it != notes_.end()) {
    const bool changed =
        it->second.weight != pod.weight || it->second.server_name != pod.server_name;
    it->second = std::move(pod);
    return changed || forgot;
  }
  if (notes_.size() >= kMaxNotes) return TooMany();
  std::string name = pod.name;
  notes_.emplace(std::move(name), std::move(pod));
  return true;
}

bool PodStore::Remove(const std::string& name) {
  const bool forgot = ForgetGone();
  if (notes_.contains(name)) gone_ns_.emplace(name, clock_.NowNs());
  return forgot;
}

std::shared_ptr<const PodNotes> PodStore::Snapshot() const {
  return std::make_shared<const PodNotes>(notes_);
}

bool PodStore::ForgetGone() {
  bool forgot = false;
  const int64_t before_ns = clock_.NowNs() - kKeptGoneMs * base::kNsPerMs;
  for (auto it = gone_ns_.begin(); it != gone_ns_.end();) {
    if (it->second >= before_ns) {
      ++it;
      continue;
    }
    notes_.erase(it->first);
    it = gone_ns_.erase(it);
    forgot = true;
  }
  return forgot;
}

}  // namespace cashew::k8s
