"""Every command of mqadmin 5.3.3: what it prints against a cluster with a live consumer, or the one line that says why not.

The list is mqadmin's own: a command that it knows and that is not here fails the check, so that none is forgotten.
"""

import json
import os
import re
import signal
import subprocess
import tempfile

from . import tools
from .tools import Check, same


def checks():
    return [Check("mqadmin lists no command that is not checked", every_command_is_checked)] + [
        Check(f"mqadmin {name}", function) for name, function in FAMILIES.items()]


class Scene:
    """A topic with messages, a group with a live member, a producer that asks for traces: made once for all families."""

    made = None

    @classmethod
    def of(cls, lab):
        with tools.Lab.scene_lock:
            if cls.made is None:
                cls.made = cls(lab)
            return cls.made

    def __init__(self, lab):
        java = tools.java(5)
        self.topic, self.group = lab.topic(4), lab.name("g")
        self.client = f"c{os.getpid()}"
        self.sent = lab.run(java, "send", topic=self.topic, count=8, keys="k1", tag="A").of("sent")
        self.traced = lab.run(java, "send", topic=self.topic, count=1, tag="B", trace=True).of("sent")[0]
        self.member = lab.start(java, "push", topic=self.topic, group=self.group, **{"from": "first"}, instance=self.client, timeout_s=600)
        self.member.until(lambda p: len(p.of("message")) >= 9, "the messages")
        self.client_id = self.member.of("started")[0]["clientId"]
        table = lab.admin("clusterList")
        row = next(line.split() for line in table.splitlines() if line.startswith(lab.cluster))
        self.broker, self.address = row[1], row[3]
        self.folder = tempfile.mkdtemp(dir=lab.folder)

    def file(self, name, value):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            json.dump(value, file)
        return path


def run(lab, command, patterns, seconds=None):
    """Runs one command; its output must match every pattern. With `seconds` it is a command that never ends: it is stopped."""
    argv = [tools.APACHE, "mqadmin", *command.split(), "-n", lab.namesrv]
    if seconds is None:
        # mqadmin waits 5 s for an answer, its own start included: on a busy machine that may be too short once.
        for _ in range(2):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, cwd=lab.folder)
            text = done.stdout + done.stderr
            if "RemotingTimeoutException" not in text:
                break
    else:
        # in a session of its own: the script that is started and the Java below it end together
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=lab.folder, start_new_session=True) as process:
            try:
                text = process.communicate(timeout=seconds)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                text = process.communicate(timeout=60)[0]
    for pattern in patterns if isinstance(patterns, tuple) else (patterns,):
        assert re.search(pattern, text), f"mqadmin {command}: no {pattern!r} in {text[:1500]}"
    return text


def refused(lab, command, code, reason):
    """The command is refused with "not supported" and one line that says why."""
    text = run(lab, command, rf"CODE: 3\s+DESC:\s+request type {code} not supported")
    line = next(line for line in text.splitlines() if f"request type {code} not supported" in line)
    assert reason in line, line


def topics(lab):
    scene = Scene.of(lab)
    made, ordered, listed = lab.name("T"), lab.name("TO"), lab.name("TL")
    run(lab, f"updateTopic -b {scene.address} -t {made} -r 2 -w 2", "create topic to .* success")
    run(lab, f"updateTopic -c {lab.cluster} -t {ordered} -r 2 -w 2 -o true", rf"orderConf=\[{scene.broker}:2\]")
    assert f'"orderTopicConf":"{scene.broker}:2"' in run(lab, f"topicRoute -t {ordered}", "brokerDatas").replace(" ", "")
    path = scene.file("topics.json", [{"topicName": listed, "readQueueNums": 2, "writeQueueNums": 2, "perm": 6, "topicFilterType": "SINGLE_TAG"}])
    run(lab, f"updateTopicList -b {scene.address} -f {path}", "success")
    assert listed in run(lab, "topicList", scene.topic).split()
    run(lab, "topicList -c", rf"{lab.cluster}\s+{scene.topic}\s+{scene.group}")
    run(lab, f"updateTopicPerm -c {lab.cluster} -t {made} -p 4", "update topic perm from 6 to 4 .* success")
    same(sum(int(line.split()[3]) for line in run(lab, f"topicStatus -t {scene.topic}", "Max Offset").splitlines() if line.startswith(scene.broker)), 9)
    run(lab, f"topicClusterList -t {scene.topic}", lab.cluster)
    run(lab, f"allocateMQ -t {scene.topic} -i 10.0.0.1,10.0.0.2", (r'"10.0.0.1":\[', r'"10.0.0.2":\['))
    run(lab, f"updateOrderConf -t {ordered} -m put -v {scene.broker}:1", "update orderConf success")
    run(lab, f"updateOrderConf -t {ordered} -m get", rf"orderConf=\[{scene.broker}:1\]")
    run(lab, f"updateOrderConf -t {ordered} -m delete", "delete orderConf success")
    run(lab, f"deleteTopic -c {lab.cluster} -t {made}", ("from cluster .* success", "from NameServer success"))
    refused(lab, f"updateStaticTopic -t {lab.name('TS')} -qn 4 -c {lab.cluster}", 513, "static topics")
    run(lab, f"remappingStaticTopic -t {lab.name('TS')} -c {lab.cluster}", "No topic route to do the remapping")


def groups(lab):
    scene = Scene.of(lab)
    other, listed = lab.name("g"), lab.name("gl")
    run(lab, f"updateSubGroup -c {lab.cluster} -g {other}", "create subscription group to .* success")
    path = scene.file("groups.json", [{"groupName": listed, "consumeEnable": True, "retryQueueNums": 1, "retryMaxTimes": 5}])
    run(lab, f"updateSubGroupList -b {scene.address} -f {path}", "success")
    run(lab, f"getConsumerConfig -g {listed}", r"retryMaxTimes\s+=\s+5")
    run(lab, f"consumerConnection -g {scene.group}", (re.escape(scene.client_id), rf"{scene.topic}\s+\*", "CONSUME_PASSIVELY"))
    run(lab, f"consumerProgress -g {scene.group}", r"Consume Diff Total: 0")
    run(lab, f"consumerProgress -g {scene.group} -s true", scene.client_id.split("@")[0])
    run(lab, "consumerProgress", rf"{scene.group}\s+1\s+V5_3_3\s+PUSH")
    run(lab, f"consumerStatus -g {scene.group}", (re.escape(scene.client_id), "Rebalance OK"))
    run(lab, f"consumerStatus -g {scene.group} -i {scene.client_id} -s", ("#Consumer Properties#", "#Consumer jstack#"))
    run(lab, f"setConsumeMode -c {lab.cluster} -t {scene.topic} -g {other} -m POP -q 8", (r"consume mode\[POP\]", r"^(?![\s\S]*Exception)"))
    run(lab, f"cloneGroupOffset -s {scene.group} -d {other} -t {scene.topic} -o false", "clone group offset success")
    run(lab, f"consumerProgress -g {other} -t {scene.topic}", r"Consume Diff Total: 0")
    run(lab, f"brokerConsumeStats -b {scene.address}", rf"{scene.topic}\s+{scene.group}")
    run(lab, f"statsAll -t {scene.topic}", rf"{scene.topic}\s+{scene.group}\s+0")
    run(lab, "statsAll -a", "#Topic")
    run(lab, f"deleteSubGroup -c {lab.cluster} -g {other} -r true", "delete subscription group .* success")
    run(lab, f"getConsumerConfig -g {other}", rf"^(?![\s\S]*groupName\s+=\s+{other})")


def offsets(lab):
    """Resets reach a live member, which consumes again from where it is told to."""
    scene, java = Scene.of(lab), tools.java(5)
    topic, group = lab.topic(2), lab.name("g")
    lab.run(java, "send", topic=topic, count=6)
    member = lab.start(java, "push", topic=topic, group=group, **{"from": "first"}, timeout_s=300)
    member.until(lambda p: len(p.of("message")) >= 6, "the messages")
    run(lab, f"resetOffsetByTime -g {group} -t {topic} -s 0", rf"{scene.broker}\s+\d+\s+0")
    member.until(lambda p: len(p.of("message")) >= 12, "the messages again, without a restart")
    run(lab, f"resetOffsetByTime -g {group} -t {topic} -s now", rf"{scene.broker}\s+\d+\s+3")
    run(lab, f"skipAccumulatedMessage -g {group} -t {topic}", rf"{scene.broker}\s+\d+\s+3")
    member.stop()


def messages(lab):
    scene = Scene.of(lab)
    first = scene.sent[0]
    run(lab, f"queryMsgById -i {first['offsetMsgId']} -t {scene.topic}", (rf"Topic:\s+{scene.topic}", r"Tags:\s+\[A\]", "CONSUMED"))
    same(run(lab, f"queryMsgByKey -t {scene.topic} -k k1", "#Message ID").count(first["msgId"][:20]), 8)
    run(lab, f"queryMsgByUniqueKey -t {scene.topic} -i {first['msgId']}", rf"Queue ID:\s+{first['queueId']}")
    run(lab, f"queryMsgByUniqueKey -t {scene.topic} -i {first['msgId']} -g {scene.group} -d {scene.client_id}", "consumeResult=CR_SUCCESS")
    run(lab, f"queryMsgByOffset -t {scene.topic} -b {scene.broker} -i {first['queueId']} -o {first['queueOffset']}", first["offsetMsgId"])
    run(lab, f"queryMsgTraceById -i {scene.traced['msgId']}", r"Pub\s+\S+.*success")
    run(lab, f"printMsg -t {scene.topic}", first["msgId"])
    run(lab, f"printMsgByQueue -t {scene.topic} -a {scene.broker} -i {first['queueId']} -p true", first["msgId"])
    run(lab, f"queryCq -t {scene.topic} -q {first['queueId']} -i 0 -c 5 -b {scene.address} -g {scene.group}", ("tagsCode=65", "eval=true", "Subscription data"))
    other = lab.topic(1)
    run(lab, f"sendMessage -t {other} -p hello", "SEND_OK")
    run(lab, f"consumeMessage -t {other} -c 1 -g {lab.name('g')}", (r"Consume ok", "BODY: hello"))
    run(lab, f"sendMsgStatus -b {scene.broker} -c 1", "SEND_OK")
    run(lab, f"checkMsgSendRT -t {other} -a 2 -s 16", r"true\s+\d+")


def clients_and_brokers(lab):
    scene = Scene.of(lab)
    run(lab, "clusterList", rf"{lab.cluster}\s+{scene.broker}\s+0\s+{scene.address}\s+V5_3_3")
    run(lab, "clusterList -m", rf"{lab.cluster}\s+{scene.broker}")
    run(lab, f"brokerStatus -b {scene.address}", (r"brokerVersionDesc\s+: V5_3_3", r"putTps\s+: \d", r"commitLogMaxOffset\s+: \d"))
    run(lab, f"brokerStatus -c {lab.cluster}", rf"{scene.address}\s+brokerVersion")
    run(lab, f"producer -b {scene.address}", re.escape(scene.client_id))
    run(lab, f"producerConnection -g CLIENT_INNER_PRODUCER -t {scene.topic}", re.escape(scene.client_id))
    run(lab, f"getBrokerConfig -b {scene.address}", r"brokerName\s+=\s+" + scene.broker)
    run(lab, f"updateBrokerConfig -b {scene.address} -k traceOn -v true", "update broker config success")
    run(lab, f"updateBrokerConfig -b {scene.address} -k listenPort -v 1", "listenPort cannot be changed while the broker runs")
    run(lab, f"cleanExpiredCQ -b {scene.address}", "success")
    run(lab, f"deleteExpiredCommitLog -b {scene.address}", "success")
    run(lab, f"cleanUnusedTopic -b {scene.address}", "success")
    run(lab, f"clusterRT -a 1 -s 16 -i 1 -c {lab.cluster}", rf"{lab.cluster}\s+{scene.broker}\s+\S+\s+1\s+0", seconds=8)
    run(lab, "startMonitoring", r"^(?![\s\S]*Exception)", seconds=8)
    out = os.path.join(scene.folder, "export")
    for command, file in (("exportMetadata", "metadata"), ("exportConfigs", "configs"), ("exportMetrics", "metrics")):
        run(lab, f"{command} -c {lab.cluster} -f {out}", f"export .*{file}.json success")
        with open(os.path.join(out, f"{file}.json")) as exported:
            assert lab.cluster in exported.read() or file != "configs"


def nameservers(lab):
    scene = Scene.of(lab)
    run(lab, "updateKvConfig -s LAB -k a -v b", "create or update kv config to namespace success")
    run(lab, "deleteKvConfig -s LAB -k a", "delete kv config from namespace success")
    run(lab, "getNamesrvConfig", r"bindAddress\s+=")
    run(lab, "updateNamesrvConfig -k orderMessageEnable -v true", "update name server config success")
    # A broker that nobody has, so that the other checks can go on writing.
    run(lab, "wipeWritePerm -b nobody", r"wipe write perm of broker\[nobody\] in name server\[\S+\] OK, 0")
    run(lab, f"addWritePerm -b {scene.broker}", rf"add write perm of broker\[{scene.broker}\] in name server\[\S+\] OK, \d+")


def replicas_and_controller(lab):
    scene = Scene.of(lab)
    refused(lab, f"addBroker -c {scene.address} -b /none", 902, "no broker containers")
    refused(lab, f"removeBroker -c {scene.address} -b {lab.cluster}:{scene.broker}:0", 903, "no broker containers")
    refused(lab, f"resetMasterFlushOffset -b {scene.address} -o 1", 908, "not set by hand")
    for command in (f"getSyncStateSet -a {scene.address} -b {scene.broker}", f"getControllerMetaData -a {scene.address}",
                    f"cleanBrokerMetadata -a {scene.address} -bn {scene.broker} -c {lab.cluster}",
                    f"electMaster -a {scene.address} -b 0 -bn {scene.broker} -c {lab.cluster}"):
        refused(lab, command, 1005, "there is no controller")
    refused(lab, f"getControllerConfig -a {scene.address}", 1010, "there is no controller")
    refused(lab, f"updateControllerConfig -a {scene.address} -k a -v b", 1009, "there is no controller")
    # Served by a broker with replicas, and refused in one line by one without.
    run(lab, f"haStatus -b {scene.address}", r"#MasterAddr|CODE: \d+\s+DESC:.*")
    run(lab, f"getBrokerEpoch -b {scene.broker}", r"#Epoch|CODE: \d+\s+DESC:.*")


def what_is_not_here(lab):
    scene = Scene.of(lab)
    at, cold, auth = f"-b {scene.address}", "reads of old data", "access control is not in this version"
    refused(lab, f"getColdDataFlowCtrInfo {at}", 2003, cold)
    refused(lab, f"updateColdDataFlowCtrGroupConfig {at} -g g -v 1", 2001, cold)
    refused(lab, f"removeColdDataFlowCtrGroupConfig {at} -g g", 2002, cold)
    refused(lab, f"setCommitLogReadAheadMode {at} -m 1", 2004, "reads ahead")
    refused(lab, f"checkRocksdbCqWriteProgress -c {lab.cluster} -t {scene.topic}", 354, "RocksDB")
    refused(lab, f"rocksDBConfigToJson -c {lab.cluster} -t topics", 355, "RocksDB")
    for code, command in ((3001, f"createUser {at} -u u -p p"), (3002, f"updateUser {at} -u u -p p"), (3003, f"deleteUser {at} -u u"),
                          (3004, f"getUser {at} -u u"), (3005, f"listUser {at}"), (3006, f"createAcl {at} -s User:u -r Topic:T -a Pub -d Allow"),
                          (3007, f"updateAcl {at} -s User:u -r Topic:T -a Pub -d Allow"), (3008, f"deleteAcl {at} -s User:u"),
                          (3009, f"getAcl {at} -s User:u"), (3010, f"listAcl {at}"), (3005, f"copyUser -f {scene.address} -t {scene.address}"),
                          (3010, f"copyAcl -f {scene.address} -t {scene.address}")):
        refused(lab, command, code, auth)
    run(lab, f"exportPopRecord -c {lab.cluster}", f"brokerName={scene.broker}")
    # Tools on files of their own, which ask no server.
    run(lab, f"exportMetadataInRocksDB -p {scene.folder} -t topics", "RocksDB|rocksdb")
    run(lab, f"dumpCompactionLog -f {scene.folder}/none", "file .*not exist|none")


FAMILIES = {
    "topics": topics,
    "groups": groups,
    "offsets": offsets,
    "messages": messages,
    "clients and brokers": clients_and_brokers,
    "nameservers": nameservers,
    "replicas and controller": replicas_and_controller,
    "what is not here": what_is_not_here,
}


def every_command_is_checked(lab):
    listed = subprocess.run([tools.APACHE, "mqadmin"], capture_output=True, text=True, timeout=60, check=False)
    known = re.findall(r"^   (\w+)  ", listed.stdout + listed.stderr, re.M)
    assert len(known) > 80, listed.stdout
    with open(__file__) as file:
        source = file.read()
    missing = [command for command in known if not re.search(rf'"{command}\b', source)]
    same(missing, [], "commands that no check runs")
