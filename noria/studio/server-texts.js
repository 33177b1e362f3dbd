/* What the server says in English (errors, tests, the gate's reasons), in Chinese. Names and codes stay; an error not listed here is told by its code. */

/* Code of an error -> text; the English text comes with the error. */
const ERRORS = {
  agent_error: "智能体运行出错，原因见服务器日志。",
  connection_lost: "回答还没结束，连接就断开了。",
  context_length_exceeded: "对话太长，模型容纳不下，请开始新对话。",
  conversation_busy: "这段对话正在生成回答，请等它完成，或先停止。",
  conversation_not_found: "这段对话不存在。",
  engine_unavailable: "模型引擎暂时不可用，原因见服务器日志。",
  internal_error: "服务器意外出错，原因见服务器日志。",
  invalid_api_key: "API 密钥缺失或有误。",
  invalid_value: "服务器不接受所填内容，请检查后再试。",
  no_connection: "无法连接服务器。",
  not_offered: "此服务器不提供这项操作，请改用命令 `noria release`。",
  operator_only: "只有管理员可以这样做，请使用管理员的 API 密钥。",
  receipt_not_found: "服务器上找不到这条回答。",
  release_not_changed: "版本状态没有改变。",
  release_not_found: "这个版本不存在。",
  release_unavailable: "没有可用的版本，请用命令 `noria release list` 查看。",
  store_unavailable: "数据库暂时不可用，原因见服务器日志。",
  too_many_requests: "同时进行的对话太多，请稍后再试。",
};

/* Errors whose reason differs from case to case: the server's own sentence follows. */
const DETAILED = new Set(["invalid_value", "release_not_changed"]);

/* Sentence or part of one -> text; noria/evaluate/gate.py writes them, and tests/browser/test_server_texts.py checks that none is missing here. */
const GATE = [
  [/^the first release of the project: its base model as it came$/, "项目的第一个版本：原始基础模型"],
  [/^exact McNemar, one-sided$/, "精确 McNemar 检验，单侧"],
  [/^exact McNemar$/, "精确 McNemar 检验"],
  [/^paired bootstrap \(BCa\), one-sided$/, "配对自助法（BCa），单侧"],
  [/^paired bootstrap \(BCa\) of non-inferiority$/, "非劣效配对自助法（BCa）"],
  [/^exact sign-flip test of conversations, one-sided$/, "按对话的精确符号翻转检验，单侧"],
  [/^exact score test of non-inferiority$/, "非劣效精确得分检验"],
  [/^compared as measured$/, "直接比较实测值"],
  [/^Better on (`.+?`): (.+?), (p \S+ <= \S+), (n .+)\.$/, "$1 上更好：$2，$3，$4。"],
  [/^Not shown to be better on (`.+?`): (.+?), (p \S+ > \S+)\.(?= |$)/, "$1 上未能证明更好：$2，$3。"],
  [/^Not worse on (`.+?`): /, "$1 上没有变差："],
  [/^May be worse on (`.+?`): /, "$1 上可能变差："],
  [/^Worse on (`.+?`): /, "$1 上变差："],
  [/ With (\d+) items a true gain below about (\S+) is usually missed\.$/, "只有 $1 道题时，约 $2 以下的真实提升通常测不出来。"],
  [/, margin (\S+?)(?=[,.](?: |$))/, "，界限 $1"],
  [/, (p \S+), (n .+)\.$/, "，$1，$2。"],
  [/(n \d+) in (\d+) conversations/, "$1，来自 $2 段对话"],
  [/^Too few items in (`.+?`): (\d+) items, at least (\d+) are needed/, "$1 的题目太少：现有 $2 道，至少需要 $3 道"],
  [/^Too few items in (`.+?`): (\d+) conversations, at least (\d+) are needed/, "$1 的对话太少：现有 $2 段，至少需要 $3 段"],
  [/ to show a loss below the margin (\S+); add items or widen the margin in (`.+`)\.$/, "，才能看出退步是否在界限 $1 之内；请增加题目，或在 $2 中放宽界限。"],
  [/^Suite (`.+?`) has no items\.$/, "题集 $1 没有题目。"],
  [/^Suite (`.+?`) was not run\.$/, "题集 $1 没有运行。"],
  [/^Suite (`.+?`) has a result that is not a number\.$/, "题集 $1 中有的结果不是数字。"],
  [/^Suite (`.+?`): the live release has (\d+) results for (\d+) items \(see item (.+)\)\.$/, "题集 $1：现行版本有 $2 个结果，而题目有 $3 道（见题目 $4）。"],
  [/^Suite (`.+?`): the candidate has (\d+) results for (\d+) items \(see item (.+)\)\.$/, "题集 $1：候选版本有 $2 个结果，而题目有 $3 道（见题目 $4）。"],
  [/^The objective was not measured\.$/, "没有测评目标。"],
  [/^The error budget of (`.+?`) is used up; raise (`.+?`) or (`.+?`) in noria\.toml\.$/, "$1 的错误预算已用完，请在 noria.toml 中调高 $2 或 $3。"],
  [/\.$/, "。"],
];

/* How a release moved -> text; what follows is the reason, the gate's or a person's. noria/lifecycle/releases.py writes them. */
const MOVES = [
  [/^(r\d+) went live: /, "$1 已上线："],
  [/^rolled back from (r\d+): /, "从 $1 回退："],
  [/^by force: /, "强制上线："],
  [/^no reason given$/, "未说明原因"],
  [/^rollback in the studio$/, "在页面上回退"],
];

/** The server's `text` in Chinese. `code` is an error's; a text of the gate, or of a move, has none. */
export function inChinese(text, code) {
  const [moved, said] = (code === undefined && MOVES.find(([english]) => english.test(text))) || [];
  if (moved) return text.match(moved)[0].replace(moved, said) + inChinese(text.replace(moved, ""));
  if (code !== undefined) return `${ERRORS[code] ?? `服务器报告错误（${code}）。`}${DETAILED.has(code) || !ERRORS[code] ? `（${text}）` : ""}`;
  return GATE.reduce((said, [english, chinese]) => said.replace(english, chinese), text);
}
