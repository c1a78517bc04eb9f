#include "pkg/k8s/pod_annotations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fmt/format.h"

namespace cashew::k8s {
namespace {

using ::testing::HasSubstr;

// As a real API server answers when it is asked for PartialObjectMetadata.
std::string PodJson(const std::string& name, const std::string& annotations) {
  return fmt::format(
      R"({{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{{"name":"{}",)"
      R"("namespace":"demo","uid":"u","resourceVersion":"12","annotations":{},)"
      R"("managedFields":[{{"manager":"kubelet"}}]}}}})",
      name, annotations);
}

std::string ListJson(const std::string& items) {
  return R"({"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1",)"
         R"("metadata":{"resourceVersion":"40","continue":"more"},"items":[)" +
         items + "]}";
}

PodNote Note(const std::string& name, const std::string& weight = "",
             const std::string& server_name = "") {
  return {.name = name, .resource_version = "1", .weight = weight, .server_name = server_name};
}

TEST(ParsePods, ReadsTheTwoAnnotationsOfAList) {
  const auto list = ParsePodList(ListJson(
      PodJson("mc-0", R"({"cashew/weight":"3","cashew/name":"cache-a","other":"x"})") + "," +
      PodJson("mc-1", "null") + "," + R"({"metadata":{"name":"mc-2","resourceVersion":"9"}})"));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->resource_version, "40");
  EXPECT_EQ(list->continue_token, "more");
  ASSERT_EQ(list->items.size(), 3U);
  EXPECT_EQ(list->items[0].weight, "3");
  EXPECT_EQ(list->items[0].server_name, "cache-a");
  EXPECT_TRUE(list->items[1].empty());
  EXPECT_TRUE(list->items[2].empty());
}

TEST(ParsePods, ReadsEventsAndBookmarks) {
  const auto event = ParsePodEvent(R"({"type":"MODIFIED","object":)" +
                                   PodJson("mc-0", R"({"cashew/weight":"2"})") + "}");
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->type, EventType::kModified);
  EXPECT_EQ(event->object.name, "mc-0");
  EXPECT_EQ(event->object.weight, "2");
  const auto bookmark =
      ParsePodEvent(R"({"type":"BOOKMARK","object":{"kind":"PartialObjectMetadata",)"
                    R"("metadata":{"resourceVersion":"77","creationTimestamp":null}}})");
  ASSERT_TRUE(bookmark.ok()) << bookmark.status();
  EXPECT_EQ(bookmark->object.resource_version, "77");
}

TEST(ParsePods, WhatCannotBeReadNamesItsPlace) {
  const auto message = [](const std::string& json) {
    return std::string(ParsePodList(json).status().message());
  };
  EXPECT_THAT(message("{"), HasSubstr("malformed PartialObjectMetadataList"));
  EXPECT_THAT(message(R"({"kind":"PodList","metadata":{"resourceVersion":"1"}})"),
              HasSubstr(R"(kind is "PodList", not "PartialObjectMetadataList")"));
  EXPECT_THAT(message(ListJson(R"({"metadata":{}})")),
              HasSubstr("items[0].metadata.name is missing"));
  EXPECT_THAT(message(ListJson("{}")), HasSubstr("items[0].metadata is missing"));
  EXPECT_THAT(message(ListJson(PodJson("a", R"({"cashew/weight":3})"))),
              HasSubstr("items[0].metadata.annotations.cashew/weight is number, not a string"));
}

class PodStoreTest : public ::testing::Test {
 protected:
  base::ManualClock clock_;
  PodStore store_{clock_};
};

TEST_F(PodStoreTest, OnlyAnnotationsThatDifferAreChanges) {
  ASSERT_TRUE(store_.Replace({Note("a", "2"), Note("b")}).ok());
  EXPECT_EQ(store_.size(), 1U);
  EXPECT_FALSE(*store_.Apply(Note("a", "2"))) << "its status, perhaps";
  EXPECT_FALSE(*store_.Apply(Note("b")));
  EXPECT_TRUE(*store_.Apply(Note("a", "3")));
  EXPECT_EQ(store_.Snapshot()->at("a").weight, "3");
  EXPECT_TRUE(*store_.Apply(Note("b", "", "x")));
  EXPECT_TRUE(*store_.Apply(Note("a"))) << "the annotation was taken away";
  EXPECT_EQ(store_.Snapshot()->count("a"), 0U);
}

TEST_F(PodStoreTest, PodThatIsGoneIsKeptForAMinute) {
  ASSERT_TRUE(store_.Replace({Note("a", "2"), Note("b", "3")}).ok());
  EXPECT_FALSE(store_.Remove("a"));
  EXPECT_FALSE(store_.Remove("never there"));
  ASSERT_TRUE(store_.Replace({}).ok()) << "and b is not in a new list";
  EXPECT_EQ(store_.size(), 2U);
  clock_.AdvanceMs(PodStore::kKeptGoneMs / 2);
  EXPECT_TRUE(*store_.Apply(Note("b", "4"))) << "it came back";
  clock_.AdvanceMs(PodStore::kKeptGoneMs / 2 + 1);
  EXPECT_TRUE(*store_.Apply(Note("c"))) << "a is forgotten, which is a change";
  EXPECT_EQ(store_.Snapshot()->count("a"), 0U);
  EXPECT_EQ(store_.Snapshot()->at("b").weight, "4");
}

TEST_F(PodStoreTest, PodThatComesBackWithoutAnnotationsHasNoneOfThoseBefore) {
  ASSERT_TRUE(store_.Replace({Note("a", "3")}).ok());
  store_.Remove("a");
  clock_.AdvanceMs(PodStore::kKeptGoneMs + 1);
  EXPECT_TRUE(*store_.Apply(Note("a")));
  EXPECT_EQ(store_.size(), 0U);
  EXPECT_FALSE(*store_.Apply(Note("a")));
}

TEST_F(PodStoreTest, PodsWithRandomNamesDoNotAddUp) {
  for (int i = 0; i < 1000; ++i) {
    const std::string name = fmt::format("web-{}", i);
    ASSERT_TRUE(store_.Apply(Note(name, "2")).ok());
    store_.Remove(name);
    clock_.AdvanceMs(1000);
  }
  EXPECT_LE(store_.size(), 62U);
}

TEST_F(PodStoreTest, RefusesMoreThanItMayHold) {
  std::vector<PodNote> many;
  for (size_t i = 0; i <= PodStore::kMaxNotes; ++i) many.push_back(Note(std::to_string(i), "2"));
  EXPECT_FALSE(store_.Replace(many).ok());
  EXPECT_EQ(store_.size(), 0U);
  many.pop_back();
  EXPECT_TRUE(store_.Replace(std::move(many)).ok());
  EXPECT_FALSE(store_.Apply(Note("one more", "2")).ok());
  EXPECT_TRUE(store_.Apply(Note("not annotated")).ok());
}

}  // namespace
}  // namespace cashew::k8s
