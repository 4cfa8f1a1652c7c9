package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RankEnvironmentTest {
    private static RankEnvironment parse(String... variables) {
        Map<String, String> environment = new HashMap<>();
        for (String variable : variables) {
            int equals = variable.indexOf('=');
            environment.put(variable.substring(0, equals), variable.substring(equals + 1));
        }
        return RankEnvironment.parse(environment, () -> "train-3.workers.default.svc.cluster.local");
    }

    @Test
    void torchrun() {
        assertThat(parse("RANK=3", "WORLD_SIZE=8", "LOCAL_RANK=1", "MASTER_ADDR=node7", "MASTER_PORT=29500"))
                .isEqualTo(new RankEnvironment("torchrun", 3, 8, 1, "node7", 29500, ""));
    }

    @Test
    void theAgentOfTorchrunKeepsItsPort() {
        assertThat(parse("RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=n", "MASTER_PORT=29500",
                "TORCHELASTIC_USE_AGENT_STORE=True", "TORCHELASTIC_RUN_ID=abc"))
                .isEqualTo(new RankEnvironment("torchrun", 0, 2, null, "n", 29501, "abc"));
    }

    @Test
    void openMpiOnOneMachineMeetsInAFolder() {
        assertThat(parse("OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_LOCAL_RANK=1",
                "OMPI_COMM_WORLD_LOCAL_SIZE=4", "PMIX_NAMESPACE=prterun-7"))
                .isEqualTo(new RankEnvironment("Open MPI", 1, 4, 1, null, 0, "prterun-7"));
    }

    @Test
    void openMpiOnSeveralMachinesNeedsAnAddress() {
        String[] variables = {"OMPI_COMM_WORLD_RANK=5", "OMPI_COMM_WORLD_SIZE=8", "OMPI_COMM_WORLD_LOCAL_RANK=1",
                "OMPI_COMM_WORLD_LOCAL_SIZE=4", "PMIX_NAMESPACE=prterun-7", "NCCL4J_BOOTSTRAP_ADDRESS=node0:7000"};
        assertThat(parse(variables)).isEqualTo(new RankEnvironment("Open MPI", 5, 8, 1, "node0", 7000, "prterun-7"));
        variables[5] = "unrelated=1";
        assertIllegalState(() -> parse(variables), "Open MPI has started this process",
                "NCCL4J_BOOTSTRAP_ADDRESS=host:port");
    }

    @Test
    void kubernetesFindsThePodOfRank0() {
        RankEnvironment read = parse("JOB_COMPLETION_INDEX=3", "WORLD_SIZE=4", "HOSTNAME=train-3");
        assertThat(read.host()).isEqualTo("train-0.workers.default.svc.cluster.local");
        assertThat(read).extracting(RankEnvironment::rank, RankEnvironment::size, RankEnvironment::job)
                .containsExactly(3, 4, "train");
        assertThat(read.port()).isEqualTo(20000);
        assertThat(parse("JOB_COMPLETION_INDEX=3", "WORLD_SIZE=4", "HOSTNAME=other-3").host()).isEqualTo("other-0");
        assertThat(parse("JOB_COMPLETION_INDEX=3", "WORLD_SIZE=4", "HOSTNAME=train-3", "MASTER_ADDR=first",
                "MASTER_PORT=1234")).extracting(RankEnvironment::host, RankEnvironment::port)
                .containsExactly("first", 1234);
        assertThatThrownBy(() -> parse("JOB_COMPLETION_INDEX=3", "HOSTNAME=train-3"))
                .isInstanceOf(IllegalStateException.class).hasMessage("WORLD_SIZE is not set");
    }

    @Test
    void slurm() {
        RankEnvironment read = parse("SLURM_PROCID=9", "SLURM_NTASKS=16", "SLURM_LOCALID=1", "SLURM_JOB_ID=4711",
                "SLURM_STEP_ID=0", "SLURM_JOB_NODELIST=gpu[03-04,7]", "SLURM_NNODES=2");
        assertThat(read).extracting(RankEnvironment::rank, RankEnvironment::size, RankEnvironment::localRank,
                RankEnvironment::host, RankEnvironment::job).containsExactly(9, 16, 1, "gpu03", "4711.0");
        assertThat(read.port()).isBetween(20000, 29999);
        assertThat(
                parse("SLURM_PROCID=1", "SLURM_NTASKS=2", "SLURM_STEP_NUM_NODES=1", "SLURM_JOB_NODELIST=gpu7").host())
                .isEqualTo("localhost");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {"n1|n1", "n1,n2|n1", "n[1-4]|n1", "n[01-04,07],m1|n01",
            "a[3,5]b[2-4]-ib|a3b2-ib", "rack1-[10,12]|rack1-10"})
    void theFirstNodeOfSlurmsLists(String list, String first) {
        assertThat(RankEnvironment.firstNode(list)).isEqualTo(first);
    }

    @Test
    void torchrunInsideOfSlurmIsTorchrun() {
        assertThat(parse("RANK=0", "WORLD_SIZE=1", "MASTER_ADDR=a", "MASTER_PORT=1", "SLURM_PROCID=5", "SLURM_NTASKS=9")
                .launcher()).isEqualTo("torchrun");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|',
            value = {"RANK=x;WORLD_SIZE=2;MASTER_ADDR=a;MASTER_PORT=1|RANK holds 'x': must be a number",
                    "RANK=0;WORLD_SIZE=2;MASTER_ADDR=a|MASTER_PORT is not set",
                    "RANK=0;WORLD_SIZE=2;MASTER_PORT=5|does not tell where rank 0 is",
                    "RANK=2;WORLD_SIZE=2;MASTER_ADDR=a;MASTER_PORT=1|this is rank 2 of 2",
                    "SLURM_PROCID=0|SLURM_NTASKS is not set",
                    "RANK=0;WORLD_SIZE=2;NCCL4J_BOOTSTRAP_ADDRESS=nohost|must be host:port",
                    "RANK=0;WORLD_SIZE=2;NCCL4J_BOOTSTRAP_ADDRESS=host:http|must be a number",
                    "SLURM_PROCID=0;SLURM_NTASKS=2;SLURM_JOB_NODELIST=n[1|is not understood",
                    "HOME=/|no launcher has started this process"})
    void whatMakesNoSenseIsNamed(String variables, String message) {
        assertIllegalState(() -> parse(variables.split(";")), message);
    }

    @Test
    void whatTheLauncherSaysIsUsed() throws Exception {
        int port = Ranks.freePort();
        BootstrapOptions options = Ranks.options(Duration.ofSeconds(20));
        assertThat(
                Ranks.outcomes(2,
                        rank -> parse("RANK=" + rank, "WORLD_SIZE=2", "LOCAL_RANK=" + (5 + rank),
                                "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + port).connect(options),
                        Bootstrap::localRank))
                .containsExactly(5, 6);
        String job = "test-" + ProcessHandle.current().pid() + "-" + port;
        assertThat(Ranks.outcomes(2,
                rank -> parse("OMPI_COMM_WORLD_RANK=" + rank, "OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_LOCAL_SIZE=2",
                        "PMIX_NAMESPACE=" + job).connect(options),
                bootstrap -> Ranks.gathersRightly(bootstrap, 2))).containsOnly(true);
    }
}
