#include "cmd/cashewctl/completion.h"

#include <set>
#include <string_view>
#include <vector>

#include "fmt/format.h"

namespace cashew::ctl {
namespace {

struct OptionWords {
  std::vector<std::string> names;  // "--output", "-f"
  std::string help;
  bool takes_value = false;
  std::vector<std::string> values;  // the only ones; empty: any
};

// A command, by its path: "" for the root, "/server/drain".
struct Place {
  std::string path;
  std::vector<std::pair<std::string, std::string>> commands;  // name and help
  std::vector<std::string> words;                             // values of its arguments
  std::vector<OptionWords> options;                           // its own
};

// CLI11 shows the members of a set as {a,b}.
std::vector<std::string> SetMembers(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{');
  const size_t close = type.find('}', open);
  if (open == std::string::npos || close == std::string::npos) return {};
  return CLI::detail::split(type.substr(open + 1, close - open - 1), ',');
}

void Walk(const CLI::App& app, const std::string& path, std::vector<Place>* places) {
  Place place;
  place.path = path;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      for (std::string& word : SetMembers(*option)) place.words.push_back(std::move(word));
      continue;
    }
    OptionWords words;
    for (const std::string& name : option->get_lnames()) words.names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) words.names.push_back("-" + name);
    words.help = option->get_description();
    words.takes_value = option->get_items_expected_max() > 0;
    words.values = SetMembers(*option);
    place.options.push_back(std::move(words));
  }
  const auto children = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* child : children) {
    place.commands.emplace_back(child->get_name(), child->get_description());
  }
  places->push_back(std::move(place));
  for (const CLI::App* child : children) Walk(*child, path + "/" + child->get_name(), places);
}

std::set<std::string> OptionNames(const Place& place) {
  std::set<std::string> names;
  for (const OptionWords& option : place.options) {
    names.insert(option.names.begin(), option.names.end());
  }
  return names;
}

// What all three scripts walk the line with: the options whose next word is theirs, and the
// paths that are commands.
struct Lists {
  std::string with_value;  // --address|--output|…
  std::string paths;       // /pools|/server|/server/drain|…
};

Lists ListsOf(const std::vector<Place>& places, std::string_view separator) {
  std::set<std::string> with_value;
  std::vector<std::string> paths;
  for (const Place& place : places) {
    if (!place.path.empty()) paths.push_back(place.path);
    for (const OptionWords& option : place.options) {
      if (!option.takes_value) continue;
      with_value.insert(option.names.begin(), option.names.end());
    }
  }
  const auto joined = [separator](const auto& list) {
    return fmt::format("{}", fmt::join(list, separator));
  };
  return {joined(with_value), joined(paths)};
}

// Inside single quotes of a POSIX-like shell, and of fish.
std::string Quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string Bash(const std::vector<Place>& places) {
  const Lists lists = ListsOf(places, "|");
  std::string values;
  std::string cases;
  for (const Place& place : places) {
    for (const OptionWords& option : place.options) {
      if (option.values.empty()) continue;
      values += fmt::format("    {}) words=\"{}\" options= ;;\n", fmt::join(option.names, "|"),
                            fmt::join(option.values, " "));
    }
    std::vector<std::string> words = place.words;
    for (const auto& [name, help] : place.commands) words.push_back(name);
    std::set<std::string> options = OptionNames(place);
    options.merge(OptionNames(places[0]));
    cases += fmt::format("      \"{}\") words=\"{}\" options=\"{}\" ;;\n", place.path,
                         fmt::join(words, " "), fmt::join(options, " "));
  }
  return fmt::format(R"(# bash completion for cashewctl: source <(cashewctl completion bash)
_cashewctl() {{
  local path= skip= word words= options=
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    if [[ -n $skip ]]; then skip=; continue; fi
    case $word in
      {with_value}) skip=1 ;;
      -*) ;;
      *) case $path/$word in {paths}) path+=/$word ;; esac ;;
    esac
  done
  case $prev in
{values}    {with_value}) return ;;
    *) case $path in
{cases}    esac ;;
  esac
  [[ $cur == -* ]] && words=$options
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _cashewctl cashewctl
)",
                     fmt::arg("with_value", lists.with_value), fmt::arg("paths", lists.paths),
                     fmt::arg("values", values), fmt::arg("cases", cases));
}

// An entry of zsh's _describe: a colon ends the name.
std::string ZshEntry(std::string_view name, std::string_view help) {
  return Quoted(fmt::format("{}:{}", name, help));
}

std::string Zsh(const std::vector<Place>& places) {
  const Lists lists = ListsOf(places, "|");
  std::string values;
  std::string cases;
  for (const Place& place : places) {
    std::vector<std::string> items;
    std::vector<std::string> options;
    for (const auto& [name, help] : place.commands) items.push_back(ZshEntry(name, help));
    for (const std::string& word : place.words) items.push_back(Quoted(word));
    for (const OptionWords& option : place.options) {
      for (const std::string& name : option.names) options.push_back(ZshEntry(name, option.help));
      if (option.values.empty()) continue;
      values += fmt::format("    {}) items=({}); _describe value items; return ;;\n",
                            fmt::join(option.names, "|"), fmt::join(option.values, " "));
    }
    cases +=
        fmt::format("    \"{}\") items=({}) options+=({}) ;;\n", place.path, fmt::join(items, " "),
                    place.path.empty() ? "" : fmt::format("{}", fmt::join(options, " ")));
  }
  std::vector<std::string> global;
  for (const OptionWords& option : places[0].options) {
    for (const std::string& name : option.names) global.push_back(ZshEntry(name, option.help));
  }
  return fmt::format(R"(#compdef cashewctl
# zsh completion for cashewctl: source <(cashewctl completion zsh), after compinit
_cashewctl() {{
  local place= skip= word prev=${{words[CURRENT-1]}}
  local -a items options
  options=({global})
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    if [[ -n $skip ]]; then skip=; continue; fi
    case $word in
      {with_value}) skip=1 ;;
      -*) ;;
      *) case $place/$word in {paths}) place+=/$word ;; esac ;;
    esac
  done
  case $prev in
{values}    {with_value}) _files; return ;;
  esac
  case $place in
{cases}  esac
  if [[ $words[CURRENT] == -* ]]; then
    _describe -o option options
  elif (( ${{#items}} )); then
    _describe command items
  else
    _files
  fi
}}
compdef _cashewctl cashewctl
)",
                     fmt::arg("global", fmt::join(global, " ")),
                     fmt::arg("with_value", lists.with_value), fmt::arg("paths", lists.paths),
                     fmt::arg("values", values), fmt::arg("cases", cases));
}

std::string FishOption(const OptionWords& option, const std::string& condition) {
  std::string line = "complete -c cashewctl" + condition;
  for (const std::string& name : option.names) {
    const bool is_long = name.substr(0, 2) == "--";
    line += fmt::format(" {} {}", is_long ? "-l" : "-s", name.substr(is_long ? 2 : 1));
  }
  if (!option.values.empty()) {
    line += fmt::format(" -x -a '{}'", fmt::join(option.values, " "));
  } else if (option.takes_value) {
    line += " -r";
  }
  return line + " -d " + Quoted(option.help) + "\n";
}

std::string Fish(const std::vector<Place>& places) {
  const Lists lists = ListsOf(places, " ");
  std::string lines;
  for (const Place& place : places) {
    const std::string condition =
        fmt::format(" -n 'test (__cashewctl_place) = \"{}\"'", place.path);
    for (const auto& [name, help] : place.commands) {
      lines +=
          fmt::format("complete -c cashewctl{} -f -a {} -d {}\n", condition, name, Quoted(help));
    }
    for (const std::string& word : place.words) {
      lines += fmt::format("complete -c cashewctl{} -f -a {}\n", condition, word);
    }
    for (const OptionWords& option : place.options) {
      lines += FishOption(option, place.path.empty() ? "" : condition);
    }
  }
  return fmt::format(R"(# fish completion for cashewctl: cashewctl completion fish | source
function __cashewctl_place
  set -l place ''
  set -l skip ''
  for word in (commandline -opc)[2..-1]
    if test -n "$skip"
      set skip ''
    else if contains -- $word {with_value}
      set skip 1
    else if contains -- "$place/$word" {paths}
      set place "$place/$word"
    end
  end
  echo "$place"
end
{lines})",
                     fmt::arg("with_value", lists.with_value), fmt::arg("paths", lists.paths),
                     fmt::arg("lines", lines));
}

}  // namespace

std::string CompletionScript(const CLI::App& root, const std::string& shell) {
  std::vector<Place> places;
  Walk(root, "", &places);
  if (shell == "bash") return Bash(places);
  return shell == "zsh" ? Zsh(places) : Fish(places);
}

}  // namespace cashew::ctl
